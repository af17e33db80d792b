// libFuzzer's entry: https://llvm.org/docs/LibFuzzer.html
#include "fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::fuzz(fuzz::Input({reinterpret_cast<const char*>(data), size}));
  return 0;
}
