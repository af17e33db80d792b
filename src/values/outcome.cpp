#include <warren/outcome.hpp>

namespace warren::inline v0 {

// Constructors and destructors are out of line, so that each class has its type information in one place. The
// exceptions are thrown across libraries.
Park::Park(const std::string& why) : std::runtime_error(why) {}
Park::~Park() = default;
Undecodable::Undecodable(const std::string& why) : Park(why) {}
Undecodable::~Undecodable() = default;

}  // namespace warren::inline v0
