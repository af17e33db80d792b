#include "meter.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>

namespace bench {
namespace {

std::chrono::microseconds cpu_time() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return std::chrono::seconds(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         std::chrono::microseconds(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

// Linux forgets the peak on a 5 (proc(5)), so that the filling of a queue does not count.
void reset_peak() { std::ofstream("/proc/self/clear_refs") << "5"; }

// Not ru_maxrss where it can be helped: it begins with the memory of whoever started the program.
std::int64_t peak_kib() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("VmHWM:", 0) == 0) return std::stoll(line.substr(6));
  }
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

}  // namespace

void Meter::start() {
  reset_peak();
  cpu_ = cpu_time();
  start_counting();
  started_ = Clock::now();
}

void Meter::stop() {
  wall_ = Clock::now() - started_;
  allocations_ = stop_counting();
  cpu_ = cpu_time() - cpu_;
  max_rss_kib_ = peak_kib();
}

double Meter::percentile(double percent) const {
  std::vector<Clock::duration> sorted = latencies_;
  std::sort(sorted.begin(), sorted.end());
  const auto rank = static_cast<std::size_t>(std::ceil(percent / 100 * static_cast<double>(sorted.size())));
  return std::chrono::duration<double, std::micro>(sorted[std::max<std::size_t>(rank, 1) - 1]).count();
}

}  // namespace bench
