#include <warren/outcome.hpp>

namespace warren::inline v0 {

// Out of line, so that each class has one home for its type information: they are thrown across libraries.
Park::Park(const std::string& why) : std::runtime_error(why) {}
Park::~Park() = default;
Undecodable::Undecodable(const std::string& why) : Park(why) {}
Undecodable::~Undecodable() = default;

}  // namespace warren::inline v0
