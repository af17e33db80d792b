#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

#include "faults/workload.hpp"
#include "support/process.hpp"

namespace faults {

/// A number from the environment, or what it is otherwise.
std::uint64_t number_from_environment(const char* name, std::uint64_t otherwise);

/// Once nothing is broken any more: ends publishing, waits until all that was confirmed is handled, prints
/// the figures, and checks what the ledger promises.
void finish(Workload& work, const Ledger& ledger, const std::map<std::string, std::size_t>& faults);

/// Checks that no thread, descriptor or memory is held beyond what was held before.
void check_no_leaks(const support::Resources& before);

}  // namespace faults
