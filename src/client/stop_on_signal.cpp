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
constexpr std::int64_t repeat_after = 1'000'000'000;  // ns; what comes earlier belongs to the first one
constexpr int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};

// What the handler knows of a signal. Written while the handler is not installed, but for the atomics.
struct Watched {
  std::atomic<int> owner{0};  // the process whose object waits for it; 0: none
  std::atomic<engine::Wakeup*> wakeup{nullptr};
  std::atomic<std::int64_t> first{0};  // when the first one came, ns; 0: not yet
  struct sigaction before {};
};

constexpr int most_signals = 65;  // of Linux, the real-time ones included
constinit std::array<Watched, most_signals> watched;
constinit std::atomic<int> handlers_running{0};

Watched& entry_of(int signal) noexcept { return watched[static_cast<std::size_t>(signal)]; }

std::int64_t now() noexcept {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

// Only calls that a signal handler may make.
void on_signal(int signal) {
  const int error = errno;
  Watched& entry = entry_of(signal);
  ++handlers_running;
  const bool is_ours = entry.owner.load() == ::getpid();
  std::int64_t first = 0;
  if (is_ours && entry.first.compare_exchange_strong(first, std::max<std::int64_t>(now(), 1))) {
    if (engine::Wakeup* const wakeup = entry.wakeup.load()) wakeup->wake();
  } else if (!is_ours || now() - first >= repeat_after) {
    // As before, once this handler has returned: it is blocked until then.
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
      // After the handlers: a signal that is pending, since every thread blocks it, comes at once.
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
  // Owned by the thread, too: a callback of the token may destroy the object.
  struct Shared {
    engine::Wakeup wakeup{};
    std::stop_source source{};
    std::atomic<bool> ended{false};

    // It takes the signals if all other threads block them.
    void run(const std::vector<int>& signals) {
      sigset_t mine;
      ::sigemptyset(&mine);
      for (const int signal : signals) ::sigaddset(&mine, signal);
      ::pthread_sigmask(SIG_UNBLOCK, &mine, nullptr);
      const auto has_come = [](int signal) { return entry_of(signal).first.load() != 0; };
      while (!ended) {
        // A signal ends the sleep, whether it is one of these or not.
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
    // Another process is the one that forked this one: what is written there is a copy.
    if (owner == ::getpid() || !entry.owner.compare_exchange_strong(owner, ::getpid()))
      wire::refuse_misuse(operation, fmt::format("a StopOnSignal waits for signal {} already", signal));
    struct sigaction action {};
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    ::sigemptyset(&action.sa_mask);
    struct sigaction before {};
    bool is_taken = ::sigaction(signal, nullptr, &before) == 0;
    if (is_taken && before.sa_handler != on_signal) entry.before = before;  // else it is a forked child's
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
    // A handler may be at work with the wakeup. Bounded, since a fork may have copied a count that nobody
    // ends.
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
