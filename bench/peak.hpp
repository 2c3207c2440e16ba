#pragma once
// The peak of multiplications with addition: as many independent ones as the registers hold, with
// the widest vectors of this machine.
#include <cstdint>

namespace bench {

/// Runs `rounds` rounds in every OpenMP thread.
void multiply_add(std::int64_t rounds);

/// Floating point operations of one round in one thread; a multiplication with addition is two.
std::int64_t multiply_add_flops();

}  // namespace bench
