// Runs tasks on several threads. PyTorch's OpenMP workers keep spinning after each parallel region and would steal
// the cores from a pool of ours, so theirs are used where an OpenMP runtime is loaded; otherwise plain threads.
#pragma once

#include <atomic>
#include <exception>
#include <system_error>
#include <thread>
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

// Calls body(0) ... body(tasks - 1), each once, and returns when all are done; what a body throws is thrown here.
template <class Body>
void parallel(int tasks, Body&& body) {
    if (tasks <= 1) {
        if (tasks == 1) body(0);
        return;
    }
    struct Shared {
        Body& body;
        int tasks;
        std::atomic<int> next{0};
        static void work(void* self) {
            auto& shared = *static_cast<Shared*>(self);
            try {
                for (int i; (i = shared.next++) < shared.tasks;) shared.body(i);
            } catch (...) {
                if (!shared.failed.test_and_set()) shared.error = std::current_exception();
            }
        }
        std::atomic_flag failed = ATOMIC_FLAG_INIT;
        std::exception_ptr error{};
    } shared{body, tasks};
    if (const GompParallel run = openmp()) {
        run(Shared::work, &shared, tasks, 0);
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

}  // namespace unspool
