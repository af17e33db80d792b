#include "faults/report.hpp"

#include <cstdlib>
#include <iostream>

#include "support/broker.hpp"
#include "support/catch.hpp"

namespace faults {

using namespace std::chrono_literals;

std::uint64_t number_from_environment(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::stoull(text);
}

void finish(Workload& work, const Ledger& ledger, const std::map<std::string, std::size_t>& faults) {
  CHECK(support::eventually([&] { return work.is_well(); }, 30s));
  work.stop_publishing();
  CHECK(support::eventually([&] { return ledger.missing() == 0; }, 60s));
  const std::string at_the_end = work.describe();
  work.stop_consuming();

  const Ledger::Totals totals = ledger.totals();
  std::cout << "published " << totals.published << ": confirmed " << totals.confirmed << ", nacked "
            << totals.nacked << ", in doubt " << totals.in_doubt << ", not sent " << totals.not_sent
            << ", without an outcome " << totals.open << ", with two " << totals.twice << "\nhandled "
            << totals.handled << ": lost " << totals.lost << ", duplicates " << totals.duplicates
            << ", though not sent " << totals.conjured << "; acknowledgements too late " << work.stale()
            << "\nrecoveries " << work.recoveries() << "; longest outage seen by a caller "
            << totals.longest_publish.count() << " ms\nfaults:";
  for (const auto& [name, count] : faults) std::cout << ' ' << name << ": " << count << ';';
  std::cout << '\n';
  for (const auto& [error, count] : ledger.failures()) std::cout << count << " times: " << error << '\n';

  std::string wrong;
  for (const std::string& fault : work.faults()) wrong += fault + '\n';
  INFO("at the end: " << at_the_end);
  INFO("log:\n" << work.log());
  CHECK(wrong == "");
  CHECK(totals.confirmed > 0);
  CHECK(totals.lost == 0);
  CHECK(totals.open == 0);
  CHECK(totals.twice == 0);
  CHECK(totals.conjured == 0);
}

void check_no_leaks(const support::Resources& before) {
  // A try to connect that nobody waits for any more ends by its own deadline.
  CHECK(support::eventually([&] { return support::resources().threads <= before.threads; }));
  CHECK(support::eventually([&] { return support::resources().descriptors <= before.descriptors; }));
  const support::Resources after = support::resources();
  INFO("threads: " << support::thread_names() << "\ndescriptors: " << support::descriptor_names());
  CHECK(after.threads <= before.threads);
  CHECK(after.descriptors <= before.descriptors);
  constexpr std::size_t slack = 1 << 20;  // what the C and C++ libraries keep for later
  CHECK(after.heap_bytes <= before.heap_bytes + slack);
}

}  // namespace faults
