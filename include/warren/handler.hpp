#pragma once

#include <concepts>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>

#include <warren/delivery.hpp>
#include <warren/outcome.hpp>

namespace warren::inline v0 {

/// Internal. Do not use it in applications.
namespace handler_detail {

// The parameter of a function, or of a function object's only call operator. `const Delivery&` if it is
// unknown.
template <typename F>
struct Parameter : std::type_identity<const Delivery&> {};
template <typename R, typename D>
struct Parameter<R (*)(D)> : std::type_identity<D> {};
template <typename R, typename D>
struct Parameter<R (*)(D) noexcept> : std::type_identity<D> {};

template <typename F>
struct CallOperator;
template <typename C, typename R, typename D>
struct CallOperator<R (C::*)(D)> : std::type_identity<D> {};
template <typename C, typename R, typename D>
struct CallOperator<R (C::*)(D) const> : std::type_identity<D> {};
template <typename C, typename R, typename D>
struct CallOperator<R (C::*)(D) noexcept> : std::type_identity<D> {};
template <typename C, typename R, typename D>
struct CallOperator<R (C::*)(D) const noexcept> : std::type_identity<D> {};

template <typename F>
requires requires { typename CallOperator<decltype(&F::operator())>::type; }
struct Parameter<F> : CallOperator<decltype(&F::operator())> {};

// Whether a handler takes the delivery by `Delivery` or `Delivery&&`.
template <typename F>
inline constexpr bool takes = std::is_invocable_v<F&, const Delivery&>
                                  ? std::is_same_v<std::remove_const_t<typename Parameter<F>::type>, Delivery>
                                  : std::is_invocable_v<F&, Delivery&&>;

// The type with which a handler is called.
template <typename F>
using Argument = std::conditional_t<takes<F>, Delivery&&, const Delivery&>;

template <typename F, bool invocable>
inline constexpr bool returns_outcome = false;
template <typename F>
inline constexpr bool returns_outcome<F, true> =
    std::is_void_v<std::invoke_result_t<F&, Argument<F>>> ||
    std::is_same_v<std::invoke_result_t<F&, Argument<F>>, Outcome>;

template <typename F>
inline constexpr bool is_handler = returns_outcome<F, std::is_invocable_v<F&, Argument<F>>>;

}  // namespace handler_detail

/// The function or function object that a Consumer calls for each message.
///
/// A handler takes a `const Delivery&`, a `Delivery&&` or a `Delivery`. It returns an Outcome or nothing,
/// which means Outcome::ack. A handler may be movable only, for example a lambda that captures a
/// `std::unique_ptr`. A consumer calls one handler on `concurrency` threads at the same time.
///
/// A handler that takes a `Delivery&&` or a `Delivery` may keep the delivery. The body is moved, not copied.
/// The consumer keeps a reference to the body until the message is settled. So if the handler throws
/// afterwards, the whole message is retried. Such a handler costs one allocation and one copy of the
/// properties for each message.
class Handler {
 public:
  /// Makes a handler from a callable. The compiler refuses a callable that can't be a handler.
  template <typename F>
  requires(!std::same_as<std::remove_cvref_t<F>, Handler>)
      Handler(F&& callable) {  // NOLINT(google-explicit-constructor): a handler is written as a lambda
    using Callable = std::decay_t<F>;
    constexpr bool valid = handler_detail::is_handler<Callable>;
    static_assert(
        valid,
        "warren: a handler takes a const warren::Delivery& (or Delivery&&, or Delivery) and returns "
        "void or warren::Outcome");
    if constexpr (valid) {
      takes_ = handler_detail::takes<Callable>;
      callable_ = std::make_unique<Held<Callable>>(std::forward<F>(callable));
    }
  }
  /// Takes over the handler. The other one may then only be destroyed or assigned.
  Handler(Handler&&) noexcept = default;
  /// Takes over the handler. The other one may then only be destroyed or assigned.
  Handler& operator=(Handler&&) noexcept = default;
  Handler(const Handler&) = delete;
  Handler& operator=(const Handler&) = delete;
  ~Handler() = default;

  /// Whether the handler takes a `Delivery&&` or a `Delivery`, which it may keep.
  [[nodiscard]] bool takes_delivery() const noexcept { return takes_; }
  /// Calls the handler, and throws what the handler throws. If takes_delivery() is true, `delivery` is moved
  /// from.
  Outcome operator()(Delivery& delivery) { return callable_->call(delivery); }
  /// Calls the handler with a temporary delivery, and throws what the handler throws.
  Outcome operator()(Delivery&& delivery) { return callable_->call(delivery); }

 private:
  struct Base {
    virtual ~Base() = default;
    virtual Outcome call(Delivery& delivery) = 0;
  };
  template <typename F>
  struct Held final : Base {
    template <typename From>
    explicit Held(From&& from) : callable(std::forward<From>(from)) {}
    Outcome call(Delivery& delivery) override {
      using Argument = handler_detail::Argument<F>;
      if constexpr (std::is_void_v<std::invoke_result_t<F&, Argument>>) {
        std::invoke(callable, static_cast<Argument>(delivery));
        return Outcome::ack;
      } else {
        return std::invoke(callable, static_cast<Argument>(delivery));
      }
    }
    F callable;
  };

  std::unique_ptr<Base> callable_;
  bool takes_ = false;
};

}  // namespace warren::inline v0
