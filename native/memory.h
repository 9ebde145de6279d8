// Memory of large arrays, kept when they die for the next ones of their size: the system clears each page before it
// gives it out, and finds the small ones one by one, which takes a tenth of a training step.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace unspool {

class Memory {
  public:
    static constexpr std::size_t kLarge = 1 << 18;  // bytes

  private:
    struct Block {
        void* data;
        std::size_t size;
    };
    static constexpr std::align_val_t kLine{64};
    static constexpr std::size_t kKept = std::size_t{256} << 20;  // bytes, at most

    std::mutex mutex_;
    std::vector<Block> free_;  // the latest last
    std::size_t kept_ = 0;

    // Four sizes in each octave, so that sequences of almost equal length share theirs.
    static std::size_t rounded(std::size_t size) {
        const std::size_t step = std::bit_floor(size) / 4;
        return (size + step - 1) / step * step;
    }

    void forget(std::size_t most) {
        auto oldest = free_.begin();
        for (; kept_ > most; ++oldest) {
            kept_ -= oldest->size;
            ::operator delete(oldest->data, kLine);
        }
        free_.erase(free_.begin(), oldest);
    }

    // Asks for large pages.
    static void* fresh(std::size_t size) {
        void* const data = ::operator new(size, kLine);
#if defined(__linux__) && defined(MADV_HUGEPAGE)
        constexpr std::uintptr_t page = 1 << 21;
        const auto address = reinterpret_cast<std::uintptr_t>(data);
        const auto begin = (address + page - 1) / page * page, end = (address + size) / page * page;
        if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);  // a wish: may fail
#endif
        return data;
    }

    Memory() { free_.reserve(kKept / kLarge + 1); }

  public:
    // Never destroyed: arrays may outlive all else.
    static Memory& shared() {
        static Memory* const one = new Memory;
        return *one;
    }

    // At the start of a cache line, not initialised; bad_alloc if there is none.
    void* take(std::size_t size) {
        if (size < kLarge) return ::operator new(size, kLine);
        size = rounded(size);
        const std::lock_guard lock(mutex_);
        for (auto block = free_.rbegin(); block != free_.rend(); ++block) {
            if (block->size != size) continue;
            void* const data = block->data;
            kept_ -= size;
            free_.erase(std::next(block).base());
            return data;
        }
        try {
            return fresh(size);
        } catch (const std::bad_alloc&) {
            forget(0);
        }
        return fresh(size);
    }

    void give(void* data, std::size_t size) {
        if (size < kLarge) return ::operator delete(data, kLine);
        const std::lock_guard lock(mutex_);
        free_.push_back({data, rounded(size)});
        kept_ += rounded(size);
        forget(kKept);
    }
};

}  // namespace unspool
