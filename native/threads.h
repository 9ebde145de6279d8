// Runs tasks on several threads. PyTorch's OpenMP workers keep spinning for a while after each parallel region and
// would steal the cores from a pool of ours (up to half of the speed on two cores), so theirs are used where an OpenMP
// runtime is loaded in the process: it is looked up by name at the call and never linked. Otherwise, in a program that
// only runs streams, the tasks get plain threads, which are begun and joined in each call.
//
// OpenMP's workers do not live on in a forked process, and the runtime there would wait for them for ever, so that a
// process which was forked after the library was loaded gets plain threads, too.
//
// Tasks are taken from a counter, so that any number of threads serves: also fewer than tasks, as when the system gives
// no more. A task must not count on running beside another one; nothing here waits but for the end of all.
#pragma once

#include <atomic>
#include <exception>
#include <thread>
#include <type_traits>
#include <vector>

#if defined(__linux__)
#include <dlfcn.h>
#include <pthread.h>
#endif

namespace unspool {

using GompParallel = void (*)(void (*)(void*), void*, unsigned, unsigned);

#if defined(__linux__)
inline std::atomic<bool> forked{false};
inline const int watches_forks = pthread_atfork(nullptr, nullptr, [] { forked = true; });
#endif

inline GompParallel openmp() {
#if defined(__linux__)
    if (forked) return nullptr;
    return reinterpret_cast<GompParallel>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
#else
    return nullptr;
#endif
}

// Calls call(self, 0) ... call(self, tasks - 1), each once, and returns when all are done; what one of them throws is
// thrown here.
inline void parallel_calls(int tasks, void (*call)(void* self, int i), void* self) {
    struct Shared {
        int tasks;
        void (*call)(void*, int);
        void* self;
        std::atomic<int> next{0};
        std::atomic_flag failed = ATOMIC_FLAG_INIT;
        std::exception_ptr error{};

        static void work(void* of) {
            auto& shared = *static_cast<Shared*>(of);
            try {
                for (int i; (i = shared.next++) < shared.tasks;) shared.call(shared.self, i);
            } catch (...) {
                if (!shared.failed.test_and_set()) shared.error = std::current_exception();
            }
        }
    } shared{tasks, call, self};
    if (const GompParallel region = openmp()) {
        region(Shared::work, &shared, tasks, 0);
    } else {
        std::vector<std::thread> workers;
        try {
            for (int i = 1; i < tasks; ++i) workers.emplace_back(Shared::work, &shared);
        } catch (const std::exception&) {  // of the system, or of memory for the list
            // Those that there are do the work of the others.
        }
        Shared::work(&shared);
        for (auto& worker : workers) worker.join();
    }
    if (shared.error) std::rethrow_exception(shared.error);
}

// The same for body(0) ... body(tasks - 1); one task is called directly.
template <class Body>
void parallel(int tasks, Body&& body) {
    if (tasks == 1) return void(body(0));
    if (tasks < 1) return;
    using Plain = std::remove_cvref_t<Body>;
    const auto call = [](void* self, int i) { (*static_cast<const Plain*>(self))(i); };
    parallel_calls(tasks, call, const_cast<Plain*>(&body));
}

}  // namespace unspool
