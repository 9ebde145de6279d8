// Runs tasks on several threads. PyTorch's OpenMP workers keep spinning after each parallel region and would steal
// the cores from a pool of ours, so theirs are used where an OpenMP runtime is loaded; otherwise plain threads.
#pragma once

#include <atomic>
#include <exception>
#include <system_error>
#include <thread>
#include <type_traits>
#include <vector>

#if defined(__linux__)
#include <dlfcn.h>
#endif

namespace unspool {

using GompParallel = void (*)(void (*)(void*), void*, unsigned, unsigned);

inline GompParallel openmp() {
#if defined(__linux__)
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
        } catch (const std::system_error&) {
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
