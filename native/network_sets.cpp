// Which of the instruction sets that networks are compiled for this machine can run.
#include "network.h"

namespace unspool {

// Whoever compiles for one machine may name its sets.
#if defined(UNSPOOL_SETS)
#elif defined(__x86_64__) || defined(_M_X64)
#define UNSPOOL_SETS(set) set(avx512) set(avx2) set(baseline)
#elif defined(__aarch64__)
#define UNSPOOL_SETS(set) set(neon)
#else
#define UNSPOOL_SETS(set) set(baseline)
#endif

#define UNSPOOL_DECLARE(isa)             \
    namespace isa {                      \
    extern const NetworkSet network_set; \
    }
UNSPOOL_SETS(UNSPOOL_DECLARE)

const std::vector<const NetworkSet*>& network_sets() {
    static const std::vector<const NetworkSet*> sets = [] {
        std::vector<const NetworkSet*> out;
#define UNSPOOL_ADD(isa) \
    if (isa::network_set.supported()) out.push_back(&isa::network_set);
        UNSPOOL_SETS(UNSPOOL_ADD)
        return out;
    }();
    return sets;
}

}  // namespace unspool
