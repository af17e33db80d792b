// expected: prefech
// An option's name is checked.
#include <warren/warren.hpp>

#ifdef RIGHT
warren::ConsumerOptions options{.prefetch = 1};
#else
warren::ConsumerOptions options{.prefech = 1};
#endif
