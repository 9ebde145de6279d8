// The kernels in float64, compiled once for each instruction set, as kernels.cpp is.
#include "recurrence.h"

namespace unspool::UNSPOOL_ISA {

template void forward(const Problem<double>&);
template void backward(const Problem<double>&);

}  // namespace unspool::UNSPOOL_ISA
