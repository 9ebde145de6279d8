// The kernels in float32, compiled once for each instruction set, as kernels.cpp is.
#include "recurrence.h"

namespace unspool::UNSPOOL_ISA {

template void forward(const Problem<float>&);
template void backward(const Problem<float>&);

}  // namespace unspool::UNSPOOL_ISA
