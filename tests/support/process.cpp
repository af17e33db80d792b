#include "support/process.hpp"

#include <malloc.h>

#include <filesystem>
#include <fstream>
#include <thread>

namespace support {
namespace {

namespace fs = std::filesystem;

// Entries of a folder in /proc may go while they are looked at.
template <typename Each>
void for_each_entry(const char* folder, Each&& each) {
  std::error_code gone;
  for (fs::directory_iterator entry(folder, gone), end; entry != end; entry.increment(gone))
    each(entry->path());
}

std::size_t count_of(const char* folder) {
  std::size_t count = 0;
  for_each_entry(folder, [&](const fs::path&) { ++count; });
  return count;
}

}  // namespace

Resources resources() {
  // Beside the first thread the thread sanitizer starts one of its own, which stays.
  static const bool started = (std::thread([] {}).join(), true);
  (void)started;
  return {.threads = count_of("/proc/self/task"),
          .descriptors = count_of("/proc/self/fd"),
          .heap_bytes = ::mallinfo2().uordblks};
}

std::string thread_names() {
  std::string names;
  for_each_entry("/proc/self/task", [&](const fs::path& task) {
    std::string name;
    std::getline(std::ifstream(task / "comm"), name);
    names += (names.empty() ? "" : ", ") + name;
  });
  return names;
}

std::string descriptor_names() {
  std::string names;
  for_each_entry("/proc/self/fd", [&](const fs::path& descriptor) {
    std::error_code gone;
    names += (names.empty() ? "" : ", ") + fs::read_symlink(descriptor, gone).string();
  });
  return names;
}

}  // namespace support
