// What another project does with warren, without a broker. An error thrown inside the library is caught here
// by its own class and by the base class, also where a shared library lies between. Given a URL, it says why
// it can't connect.
#include <cstdint>
#include <cstdio>
#include <exception>
#include <type_traits>

#include <warren/warren.hpp>

static_assert(std::is_nothrow_move_constructible_v<warren::Connection>);

namespace {

// Which class the error of a broken URI is caught as.
template <typename Caught>
bool catches(std::uint16_t expected_code) {
  try {
    (void)warren::Uri::parse("http://example.org/");
  } catch (const Caught& error) {
    return error.permanent() && error.code() == expected_code && !error.operation().empty();
  } catch (...) {
  }
  return false;
}

}  // namespace

int main(int count, char** arguments) {
  if (count == 2) {
    try {
      const warren::Connection connection{arguments[1]};
      return 5;
    } catch (const warren::ConnectionError& error) {
      std::printf("%s: %s\n", error.permanent() ? "permanent" : "for now", error.what());
      return 0;
    }
  }
  const warren::Uri uri = warren::Uri::parse("amqps://user:secret@broker.example/shop?heartbeat=7");
  if (uri.endpoint.effective_port() != 5671 || uri.endpoint.vhost != "shop") return 1;
  if (!catches<warren::InvalidArgument>(0) || !catches<warren::Error>(0)) return 2;
  try {
    throw warren::Park("thrown here, caught as what it derives from");
  } catch (const std::exception& error) {
    if (*error.what() == '\0') return 3;
  }
  warren::FieldTable table{{"depth", 1}};
  table.set("name", "warren");
  if (table.size() != 2 || table.find("name") == nullptr) return 4;
  std::printf("warren %s\n", WARREN_VERSION_STRING);
}
