#include "faults/starvation.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <new>

namespace {

// No object here has a destructor: memory is asked for until the very end of the program.
enum class Victim { none, name, main_thread, others, all };
constinit std::atomic<Victim> victim{Victim::none};
constinit std::atomic<long> left{0};
constinit std::array<char, 16> victim_name{};
constinit thread_local int calls = 0;
constinit thread_local int spared = 0;
constinit std::atomic<long> threads_left{-1};  // below 0: without end
constinit std::atomic<std::size_t> refused{0};
constinit std::atomic<std::size_t> inheritable{0};

bool is_meant(Victim who) noexcept {
  if (who == Victim::main_thread) return calls > 0;
  std::array<char, 16> name{};
  if (::getpid() == static_cast<pid_t>(::syscall(SYS_gettid))) return false;
  if (::pthread_getname_np(::pthread_self(), name.data(), name.size()) != 0) return false;
  const bool of_the_library = std::strncmp(name.data(), "warren-", 7) == 0;
  if (who == Victim::all) return of_the_library;
  if (who == Victim::others) return !of_the_library;
  return std::strcmp(name.data(), victim_name.data()) == 0;
}

bool is_refused() noexcept {
  const Victim who = victim.load(std::memory_order_acquire);
  if (who == Victim::none || spared > 0 || !is_meant(who)) return false;
  return who == Victim::all || left.fetch_sub(1) == 1;
}

void* allocate(std::size_t size) {
  void* const memory = is_refused() ? nullptr : std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

template <typename Function>
Function* next(const char* name) noexcept {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

int looked_at(int descriptor) noexcept {
  const int error = errno;
  if (descriptor >= 0 && (::fcntl(descriptor, F_GETFD) & FD_CLOEXEC) == 0) ++inheritable;
  errno = error;
  return descriptor;
}

}  // namespace

void* operator new(std::size_t size) { return allocate(size); }
void* operator new[](std::size_t size) { return allocate(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

extern "C" {

int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*body)(void*),
                   void* argument) noexcept {
  if (threads_left >= 0 && threads_left.fetch_sub(1) <= 0) {
    threads_left = 0;
    ++refused;
    return EAGAIN;
  }
  return next<int(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*)>("pthread_create")(
      thread, attributes, body, argument);
}

int pipe(int ends[2]) noexcept {
  const int result = next<int(int*)>("pipe")(ends);
  if (result == 0) (void)looked_at(ends[0]), (void)looked_at(ends[1]);
  return result;
}

int socket(int domain, int type, int protocol) noexcept {
  return looked_at(next<int(int, int, int)>("socket")(domain, type, protocol));
}

int accept(int listener, sockaddr* address, socklen_t* size) {
  return looked_at(next<int(int, sockaddr*, socklen_t*)>("accept")(listener, address, size));
}

int dup(int descriptor) noexcept { return looked_at(next<int(int)>("dup")(descriptor)); }

}  // extern "C"

namespace starvation {

void starve_of_memory(const char* thread, long nth) noexcept {
  end();
  left = nth;
  std::strncpy(victim_name.data(), thread, victim_name.size() - 1);
  Victim who = Victim::name;
  if (nth == 0) who = Victim::all;
  if (std::strcmp(thread, "main") == 0) who = Victim::main_thread;
  if (std::strcmp(thread, "resolver") == 0) who = Victim::others;
  victim.store(who, std::memory_order_release);
}

long allocations_left() noexcept { return left < 0 ? 0 : left.load(); }
void end() noexcept { victim.store(Victim::none, std::memory_order_release); }

Call::Call() noexcept { ++calls; }
Call::~Call() { --calls; }
Spared::Spared() noexcept { ++spared; }
Spared::~Spared() { --spared; }

void starve_of_threads(std::size_t after) noexcept { threads_left = static_cast<long>(after); }
std::size_t threads_refused() noexcept { return refused; }
std::size_t inheritable_descriptors() noexcept { return inheritable; }

}  // namespace starvation
