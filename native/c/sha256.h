// SHA-256 (FIPS 180-4), in hexadecimal: whether a file is the one that was saved.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace unspool {

class Sha256 {
    std::array<std::uint32_t, 8> state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

    static std::uint32_t rotate(std::uint32_t x, int n) { return x >> n | x << (32 - n); }

    void block(const unsigned char* from) {
        static constexpr std::uint32_t k[64] = {
            0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
            0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
            0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
            0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
            0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
            0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
            0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
            0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
        std::uint32_t w[64];
        for (int i = 0; i < 16; ++i, from += 4)
            w[i] = std::uint32_t(from[0]) << 24 | std::uint32_t(from[1]) << 16 | std::uint32_t(from[2]) << 8 | from[3];
        for (int i = 16; i < 64; ++i) {
            const std::uint32_t a = w[i - 15], b = w[i - 2];
            w[i] = w[i - 16] + (rotate(a, 7) ^ rotate(a, 18) ^ a >> 3) + w[i - 7] +
                   (rotate(b, 17) ^ rotate(b, 19) ^ b >> 10);
        }
        auto [a, b, c, d, e, f, g, h] = state_;
        for (int i = 0; i < 64; ++i) {
            const std::uint32_t sum = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
            const std::uint32_t one = h + sum + (g ^ (e & (f ^ g))) + k[i] + w[i];
            const std::uint32_t two = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) | (c & (a | b)));
            h = g, g = f, f = e, e = d + one, d = c, c = b, b = a, a = one + two;
        }
        const std::uint32_t add[8] = {a, b, c, d, e, f, g, h};
        for (int i = 0; i < 8; ++i) state_[i] += add[i];
    }

  public:
    static std::string of(std::string_view data) {
        Sha256 sum;
        const auto* bytes = reinterpret_cast<const unsigned char*>(data.data());
        std::size_t at = 0;
        for (; at + 64 <= data.size(); at += 64) sum.block(bytes + at);
        unsigned char last[128] = {};
        const std::size_t left = data.size() - at, size = left < 56 ? 64 : 128;
        for (std::size_t i = 0; i < left; ++i) last[i] = bytes[at + i];
        last[left] = 0x80;
        for (int i = 0; i < 8; ++i) last[size - 1 - i] = std::uint64_t(data.size()) * 8 >> 8 * i & 0xff;
        for (std::size_t i = 0; i < size; i += 64) sum.block(last + i);
        std::string out;
        for (const std::uint32_t word : sum.state_)
            for (int shift = 28; shift >= 0; shift -= 4) out += "0123456789abcdef"[word >> shift & 15];
        return out;
    }
};

}  // namespace unspool
