// The instruction sets, and which of them this machine can run: one list for training kernels and for networks. CMake
// has it, the best one first, as UNSPOOL_SETS(set) = set(avx512) set(avx2) ..., with the flags of each; a library that
// only runs networks leaves the training kernels out.
#include "steps/network.h"
#if !defined(UNSPOOL_STEPS_ONLY)
#include "sequences/kernels.h"
#endif

#if !defined(UNSPOOL_SETS)
#error "UNSPOOL_SETS(set) must be defined as the sets that are compiled, for example -D'UNSPOOL_SETS(set)=set(avx2)'"
#endif

namespace unspool {

template <class Set>
static std::vector<const Set*> supported(std::initializer_list<const Set*> compiled) {
    std::vector<const Set*> out;
    std::string list;
    for (const Set* set : compiled) {
        if (set->supported()) out.push_back(set);
        list += std::string(list.empty() ? "" : ", ") + set->name;
    }
    if (out.empty())
        throw std::runtime_error("this unspool was compiled for " + list +
                                 ", and this machine has none of them; install one with all sets");
    return out;
}

#define UNSPOOL_DECLARE(isa)        \
    namespace isa {                 \
    extern const Networks networks; \
    }
UNSPOOL_SETS(UNSPOOL_DECLARE)

const std::vector<const Networks*>& network_sets() {
#define UNSPOOL_NETWORKS(isa) &isa::networks,
    static const auto sets = supported<Networks>({UNSPOOL_SETS(UNSPOOL_NETWORKS)});
    return sets;
}

#if !defined(UNSPOOL_STEPS_ONLY)
#define UNSPOOL_DECLARE_KERNELS(isa) \
    namespace isa {                  \
    extern const Kernels kernels;    \
    }
UNSPOOL_SETS(UNSPOOL_DECLARE_KERNELS)

const std::vector<const Kernels*>& kernel_sets() {
#define UNSPOOL_KERNELS(isa) &isa::kernels,
    static const auto sets = supported<Kernels>({UNSPOOL_SETS(UNSPOOL_KERNELS)});
    return sets;
}
#endif

}  // namespace unspool
