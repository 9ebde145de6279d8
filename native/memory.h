// Memory of large arrays, kept when they die for the next ones of their size. The system clears each page before it
// gives it out, and finds the small ones one by one: up to 16,000 of them in a call, 2.8 µs each, a tenth of a training
// step. So three things are done here.
//
//     kept      a block of 256 KiB or more goes back into a list, and the next array of its size gets it; at most
//               256 MiB are kept, of which the oldest go first. Sizes are rounded to a quarter of their octave,
//               so that sequences of almost equal length share their blocks.
//     large     fresh blocks ask for pages of 2 MiB. Arrays that all begin at the beginning of such a page compete for
//               the same lines of the cache (a GRU of 256 units: 140 -> 179 ms), so a block begins where it happens to.
//     aligned   every array begins at a cache line: a vector load across two lines costs two, and a product whose
//               vectors straddle them loses a quarter.
//
// PyTorch's arrays of results are made here too (`memory` in bind/sequences.cpp), as they are the largest of all.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>
#include <utility>
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

    // Gives the oldest blocks back until no more than this is kept.
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
        } catch (const std::bad_alloc&) { forget(0); }
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

// Numbers in such memory, not initialised. It only grows: whoever keeps one from call to call asks for memory once.
template <class T>
class Buffer {
    T* data_ = nullptr;
    std::int64_t size_ = 0;

    void free() {
        if (data_) Memory::shared().give(std::exchange(data_, nullptr), std::exchange(size_, 0) * sizeof(T));
    }

  public:
    Buffer() = default;
    explicit Buffer(std::int64_t size) { resize(size); }
    Buffer(Buffer&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    ~Buffer() { free(); }

    // Forgets what was there.
    void resize(std::int64_t size) {
        if (size <= size_) return;
        free();
        data_ = static_cast<T*>(Memory::shared().take(size * sizeof(T)));
        size_ = size;
    }
    void zero() { std::fill_n(data_, size_, T(0)); }
    T* data() { return data_; }
    const T* data() const { return data_; }
    T& operator[](std::int64_t i) { return data_[i]; }
    const T& operator[](std::int64_t i) const { return data_[i]; }
};

}  // namespace unspool
