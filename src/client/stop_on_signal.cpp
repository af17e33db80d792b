#include <warren/stop_on_signal.hpp>

#include <fmt/format.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#include "engine/system.hpp"
#include "wire/check.hpp"

namespace warren::inline v0 {
namespace {

constexpr const char* operation = "stop on signal";
constexpr std::int64_t repeat_after = 1'000'000'000;  // ns; until then, a signal repeats the first one
constexpr int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};

// The data of a signal for the handler. Except for the atomics, it is written while the handler is not
// installed.
struct Watched {
  std::atomic<int> owner{0};  // the process whose object waits for the signal; 0: none
  std::atomic<engine::Wakeup*> wakeup{nullptr};
  std::atomic<std::int64_t> first{0};  // when the first signal came, ns; 0: not yet
  struct sigaction before {};
};

constexpr int most_signals = 65;  // on Linux, including the real-time signals
constinit std::array<Watched, most_signals> watched;
constinit std::atomic<int> handlers_running{0};

Watched& entry_of(int signal) noexcept { return watched[static_cast<std::size_t>(signal)]; }

std::int64_t now() noexcept {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

// Uses only calls that are safe in a signal handler.
void on_signal(int signal) {
  const int error = errno;
  Watched& entry = entry_of(signal);
  ++handlers_running;
  const bool is_ours = entry.owner.load() == ::getpid();
  std::int64_t first = 0;
  if (is_ours && entry.first.compare_exchange_strong(first, std::max<std::int64_t>(now(), 1))) {
    if (engine::Wakeup* const wakeup = entry.wakeup.load()) wakeup->wake();
  } else if (!is_ours || now() - first >= repeat_after) {
    // Lets the previous handler run once this one has returned, since the signal is blocked until then.
    ::sigaction(signal, &entry.before, nullptr);
    ::raise(signal);
  }
  --handlers_running;
  errno = error;
}

}  // namespace

class StopOnSignal::Impl {
 public:
  explicit Impl(std::initializer_list<int> signals) {
    if (signals.size() == 0) wire::refuse(operation, "no signal is named");
    try {
      for (const int signal : signals) install(signal);
      // The thread starts after the handlers are installed. A signal that is pending because every thread
      // blocks it arrives at once.
      thread_ =
          engine::start_thread("warren-signals", [shared = shared_, all = installed_] { shared->run(all); });
    } catch (...) {
      end();
      throw;
    }
  }
  ~Impl() { end(); }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  [[nodiscard]] std::stop_source& source() noexcept { return shared_->source; }

 private:
  // The thread owns it too, since a callback of the token may destroy the object.
  struct Shared {
    engine::Wakeup wakeup{};
    std::stop_source source{};
    std::atomic<bool> ended{false};

    // Takes the signals if all other threads block them.
    void run(const std::vector<int>& signals) {
      sigset_t mine;
      ::sigemptyset(&mine);
      for (const int signal : signals) ::sigaddset(&mine, signal);
      ::pthread_sigmask(SIG_UNBLOCK, &mine, nullptr);
      const auto has_come = [](int signal) { return entry_of(signal).first.load() != 0; };
      while (!ended) {
        // Any signal ends the sleep, even one that is not in `signals`.
        wakeup.wait(-1, false, std::chrono::milliseconds(-1));
        if (!ended && std::ranges::any_of(signals, has_come)) source.request_stop();
      }
    }
  };

  void install(int signal) {
    if (signal <= 0 || signal >= most_signals || std::ranges::find(faults, signal) != std::end(faults))
      wire::refuse(operation, fmt::format("signal {} can't request a stop", signal));
    installed_.reserve(installed_.size() + 1);
    Watched& entry = entry_of(signal);
    int owner = entry.owner.load();
    // If the owner is another process, it forked this one, and the entry is a copy.
    if (owner == ::getpid() || !entry.owner.compare_exchange_strong(owner, ::getpid()))
      wire::refuse_misuse(operation, fmt::format("a StopOnSignal waits for signal {} already", signal));
    struct sigaction action {};
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    ::sigemptyset(&action.sa_mask);
    struct sigaction before {};
    bool is_taken = ::sigaction(signal, nullptr, &before) == 0;
    if (is_taken && before.sa_handler != on_signal) entry.before = before;  // else this is a forked child
    entry.first = 0;
    entry.wakeup = &shared_->wakeup;
    is_taken = is_taken && ::sigaction(signal, &action, nullptr) == 0;
    if (!is_taken) {
      entry.wakeup = nullptr;
      entry.owner = 0;
      wire::refuse(operation, fmt::format("signal {} can't be handled", signal));
    }
    installed_.push_back(signal);
  }

  void end() noexcept {
    shared_->ended = true;
    shared_->wakeup.wake();
    if (thread_.joinable()) {
      if (thread_.get_id() == std::this_thread::get_id()) {
        thread_.detach();
      } else {
        thread_.join();
      }
    }
    for (const int signal : installed_) {
      ::sigaction(signal, &entry_of(signal).before, nullptr);
      entry_of(signal).wakeup = nullptr;
    }
    // A handler may still be using the wakeup. The wait is limited, since a fork may have copied a count that
    // is never decremented.
    for (int i = 0; i < 1'000 && handlers_running.load() != 0; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    for (const int signal : installed_) entry_of(signal).owner = 0;
    installed_.clear();
  }

  const std::shared_ptr<Shared> shared_ = std::make_shared<Shared>();
  std::vector<int> installed_;
  std::thread thread_;
};

StopOnSignal::StopOnSignal(std::initializer_list<int> signals) : impl_(engine::make_at_home<Impl>(signals)) {}
StopOnSignal::~StopOnSignal() = default;

std::stop_token StopOnSignal::token() const noexcept { return impl_->source().get_token(); }
void StopOnSignal::request_stop() noexcept { impl_->source().request_stop(); }

}  // namespace warren::inline v0
