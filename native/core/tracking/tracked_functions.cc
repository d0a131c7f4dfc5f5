#include "core/tracking/tracked_functions.h"

#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <map>
#include <mutex>
#include <new>
#include <thread>
#include <unordered_map>
#include <utility>

#include "core/base/glibc.h"
#include "core/loader/dl.h"
#include "core/tracking/real_functions.h"
#include "core/tracking/thread_record.h"

// The functions that thunks of images call, each with the image last. Exceptions must not get into
// C code; but a thread that is cancelled, or calls pthread_exit(3), is unwound through these
// frames, so those that call code of an image are not noexcept.

extern "C" {
[[gnu::visibility("hidden")]] uintptr_t soswap_real_dlsym = 0;
[[gnu::visibility("hidden")]] void soswap_tracked_dlsym();
[[gnu::visibility("hidden")]] uintptr_t soswap_tracked_address(void* handle, const char* name,
                                                               const soswap::Tracking* tracking);
}

// dlsym(3) finds its caller by the return address, so the real one must be jumped to.
#if defined(__x86_64__)
__asm__(R"(
.text
.hidden soswap_tracked_dlsym
.globl soswap_tracked_dlsym
.type soswap_tracked_dlsym, @function
soswap_tracked_dlsym:
  .cfi_startproc
  pushq %rdi
  .cfi_adjust_cfa_offset 8
  pushq %rsi
  .cfi_adjust_cfa_offset 8
  subq $8, %rsp
  .cfi_adjust_cfa_offset 8
  call soswap_tracked_address
  addq $8, %rsp
  .cfi_adjust_cfa_offset -8
  popq %rsi
  .cfi_adjust_cfa_offset -8
  popq %rdi
  .cfi_adjust_cfa_offset -8
  testq %rax, %rax
  jne 1f
  jmp *soswap_real_dlsym(%rip)
1:
  ret
  .cfi_endproc
.size soswap_tracked_dlsym, . - soswap_tracked_dlsym
)");
#elif defined(__aarch64__)
__asm__(R"(
.text
.hidden soswap_tracked_dlsym
.globl soswap_tracked_dlsym
.type soswap_tracked_dlsym, %function
soswap_tracked_dlsym:
  .cfi_startproc
  stp x29, x30, [sp, -32]!
  .cfi_def_cfa_offset 32
  .cfi_offset 29, -32
  .cfi_offset 30, -24
  mov x29, sp
  stp x0, x1, [sp, 16]
  bl soswap_tracked_address
  mov x16, x0
  ldp x0, x1, [sp, 16]
  ldp x29, x30, [sp], 32
  .cfi_restore 29
  .cfi_restore 30
  .cfi_def_cfa_offset 0
  cbz x16, 1f
  mov x0, x16
  ret
1:
  adrp x16, soswap_real_dlsym
  ldr x16, [x16, :lo12:soswap_real_dlsym]
  br x16
  .cfi_endproc
.size soswap_tracked_dlsym, . - soswap_tracked_dlsym
)");
#endif

namespace soswap {
namespace {

constexpr auto kCount = static_cast<size_t>(Tracked::kCount);
constexpr std::string_view kStdThread =
    "_ZNSt6thread15_M_start_threadESt10unique_ptrINS_6_StateESt14default_deleteIS1_EEPFvvE";

constexpr std::array<std::string_view, kCount> kNames{
    "pthread_create",
    "thrd_create",
    kStdThread,
    "uv_thread_create",
    "uv_thread_create_ex",
    "__cxa_thread_atexit_impl",
    "__cxa_thread_atexit",
    "pthread_key_create",
    "pthread_key_delete",
    "pthread_setspecific",
    "tss_create",
    "tss_delete",
    "tss_set",
    "uv_queue_work",
    "timer_create",
    "timer_delete",
    "mq_notify",
    "getaddrinfo_a",
    "aio_read",
    "aio_write",
    "aio_fsync",
    "aio_read64",
    "aio_write64",
    "aio_fsync64",
    "lio_listio",
    "lio_listio64",
    "on_exit",
    "__cxa_at_quick_exit",
    "dlsym",
    "dlopen",
    "dlmopen",
};

// Process-wide; see SetOpenFunctions().
std::atomic<const OpenFunctions*> open_functions{nullptr};

// What a new thread runs. Its record counts it until the thread has ended: to count down where its
// function returns would be too early, for destructors come after that.
struct Start {
  std::unique_ptr<ThreadRecord> record;
  void* function = nullptr;
  void* argument = nullptr;
};

// The function and the argument, on the new thread.
std::pair<void*, void*> Begin(void* data) {
  const std::unique_ptr<Start> start(static_cast<Start*>(data));
  ThreadRecord::Adopt(std::move(start->record));
  return {start->function, start->argument};
}

// Starts a thread with `start(data)`. Returns `no_memory` without memory.
template <typename Starter>
int StartThread(Tracking* tracking, Tracked what, void* function, void* argument, int no_memory,
                Starter starter) {
  std::unique_ptr<Start> start;
  try {
    start = std::make_unique<Start>();
    start->record = ThreadRecord::ForNew(tracking, what);
  } catch (const std::bad_alloc&) {
    return no_memory;
  }
  start->function = function;
  start->argument = argument;
  Start* given = start.release();  // the thread frees it, which may be before this goes on
  const int failed = starter(given);
  if (failed != 0) start.reset(given);
  return failed;
}

void* RunPthread(void* data) {
  const auto [function, argument] = Begin(data);
  return reinterpret_cast<void* (*)(void*)>(function)(argument);
}
int RunThrd(void* data) {
  const auto [function, argument] = Begin(data);
  return reinterpret_cast<int (*)(void*)>(function)(argument);
}
void RunUvThread(void* data) {
  const auto [function, argument] = Begin(data);
  reinterpret_cast<void (*)(void*)>(function)(argument);
}

int PthreadCreate(pthread_t* thread, const pthread_attr_t* attributes, void* function,
                  void* argument, Tracking* tracking) {
  return StartThread(
      tracking, Tracked::kPthreadCreate, function, argument, EAGAIN,
      [&](void* data) { return Real().pthread_create(thread, attributes, RunPthread, data); });
}

int ThrdCreate(thrd_t* thread, void* function, void* argument, Tracking* tracking) {
  return StartThread(tracking, Tracked::kThrdCreate, function, argument, thrd_nomem,
                     [&](void* data) { return Real().thrd_create(thread, RunThrd, data); });
}

int UvThreadCreate(void* thread, void* function, void* argument, Tracking* tracking) {
  return StartThread(
      tracking, Tracked::kUvThreadCreate, function, argument, -ENOMEM,
      [&](void* data) { return Real().uv_thread_create(thread, RunUvThread, data); });
}

int UvThreadCreateEx(void* thread, const void* options, void* function, void* argument,
                     Tracking* tracking) {
  return StartThread(
      tracking, Tracked::kUvThreadCreateEx, function, argument, -ENOMEM,
      [&](void* data) { return Real().uv_thread_create_ex(thread, options, RunUvThread, data); });
}

// libstdc++ runs the state on the new thread and deletes it there.
class TrackedState final : public std::thread::_State {
 public:
  TrackedState(Tracking* tracking, std::unique_ptr<_State> inner)
      : record_(ThreadRecord::ForNew(tracking, Tracked::kStdThread)), inner_(std::move(inner)) {}
  TrackedState(const TrackedState&) = delete;
  TrackedState& operator=(const TrackedState&) = delete;
  ~TrackedState() override = default;

  void _M_run() override {
    ThreadRecord::Adopt(std::move(record_));
    inner_->_M_run();
  }

 private:
  std::unique_ptr<ThreadRecord> record_;
  std::unique_ptr<_State> inner_;  // destroyed first: that runs code of the image
};

// std::thread::_M_start_thread(), a member, with its parameter that is no trivial one in memory.
void StartStdThread(void* thread, std::unique_ptr<std::thread::_State>* state, void (*depend)(),
                    Tracking* tracking) {
  std::unique_ptr<std::thread::_State> tracked(new TrackedState(tracking, std::move(*state)));
  using Starter = void(void*, std::unique_ptr<std::thread::_State>*, void (*)());
  Real().As<Starter>(Tracked::kStdThread)(thread, &tracked, depend);
}

template <Tracked what>
int AtThreadExit(void (*function)(void*), void* object, void* /*dso*/, Tracking* tracking) {
  try {
    ThreadRecord::Here().AddDestructor(tracking, what, function, object);
    return 0;
  } catch (const std::bad_alloc&) {
    return -1;
  }
}

int KeyCreate(pthread_key_t* key, void (*destructor)(void*), Tracking* tracking) {
  return CreateKey(key, destructor, tracking);
}
int KeyDelete(pthread_key_t key, Tracking* /*tracking*/) { return DeleteKey(key); }
int SetSpecific(pthread_key_t key, const void* value, Tracking* /*tracking*/) {
  return SetKey(key, value);
}
int TssCreate(pthread_key_t* key, void (*destructor)(void*), Tracking* tracking) {
  return CreateKey(key, destructor, tracking) == 0 ? thrd_success : thrd_error;
}
void TssDelete(pthread_key_t key, Tracking* /*tracking*/) { DeleteKey(key); }
int TssSet(pthread_key_t key, const void* value, Tracking* /*tracking*/) {
  return SetKey(key, value) == 0 ? thrd_success : thrd_error;
}

// Work for libuv's pool. The use ends when the second callback has returned to soswap; libuv calls
// that in any case, for cancelled work too.
struct QueuedWork {
  Tracking* tracking;
  void (*work)(void*);
  void (*after)(void*, int);
};
struct QueuedWorks {
  std::mutex mutex;
  std::unordered_map<void*, QueuedWork> by_request;
};
QueuedWorks& TheQueuedWorks() {
  static auto* works = new QueuedWorks;
  return *works;
}
QueuedWork WorkOf(void* request, bool remove) {
  const std::lock_guard lock(TheQueuedWorks().mutex);
  auto& all = TheQueuedWorks().by_request;
  const auto found = all.find(request);
  const QueuedWork work = found->second;
  if (remove) all.erase(found);
  return work;
}
void DoWork(void* request) { WorkOf(request, false).work(request); }
void AfterWork(void* request, int status) {
  const QueuedWork work = WorkOf(request, true);  // first: it may queue the request again
  if (work.after != nullptr) work.after(request, status);
  work.tracking->Leave(Tracked::kUvQueueWork);
}
int UvQueueWork(void* loop, void* request, void (*work)(void*), void (*after)(void*, int),
                Tracking* tracking) {
  if (work == nullptr) return Real().uv_queue_work(loop, request, work, after);
  try {
    const std::lock_guard lock(TheQueuedWorks().mutex);
    TheQueuedWorks().by_request[request] = {tracking, work, after};
  } catch (const std::bad_alloc&) {
    return -ENOMEM;
  }
  tracking->Add(Tracked::kUvQueueWork);
  const int failed = Real().uv_queue_work(loop, request, DoWork, AfterWork);
  if (failed != 0) {
    WorkOf(request, true);
    tracking->Leave(Tracked::kUvQueueWork);
  }
  return failed;
}

// Notifications on threads of the C library (SIGEV_THREAD). Each gets a number instead of its own
// value, and one that comes after the end of its cause finds nothing under that number.
struct Notice {
  Tracking* tracking;
  Tracked what;
  void (*function)(sigval);
  sigval value;
  bool once;
};
struct Notices {
  std::mutex mutex;
  uintptr_t last = 0;
  std::map<uintptr_t, Notice> all;
  std::map<timer_t, uintptr_t> by_timer;
  std::map<mqd_t, uintptr_t> by_queue;
};
Notices& TheNotices() {
  static auto* notices = new Notices;
  return *notices;
}

void RemoveNotice(uintptr_t number) {
  Notice notice{};
  {
    const std::lock_guard lock(TheNotices().mutex);
    const auto found = TheNotices().all.find(number);
    if (found == TheNotices().all.end()) return;
    notice = found->second;
    TheNotices().all.erase(found);
  }
  notice.tracking->Leave(notice.what);
}

void Notify(sigval given) {
  Notice notice{};
  {
    const auto number = reinterpret_cast<uintptr_t>(given.sival_ptr);
    const std::lock_guard lock(TheNotices().mutex);
    const auto found = TheNotices().all.find(number);
    if (found == TheNotices().all.end()) return;
    notice = found->second;
    if (notice.once) {
      TheNotices().all.erase(found);
    } else {
      notice.tracking->Add(notice.what);  // under the lock: the entry is a use
    }
  }
  try {
    ThreadRecord::Here().Hold(notice.tracking, notice.what);  // until the thread ends
  } catch (const std::bad_alloc&) {
    // The use never ends.
  }
  notice.function(notice.value);
}

bool WantsThread(const sigevent* event) {
  return event != nullptr && event->sigev_notify == SIGEV_THREAD;
}

// Calls `ask` with an event that leads to Notify(). 0: no memory.
template <typename Ask>
int AskFor(const sigevent* event, Tracking* tracking, Tracked what, bool once, uintptr_t& number,
           Ask ask) {
  sigevent ours = *event;
  try {
    const std::lock_guard lock(TheNotices().mutex);
    number = ++TheNotices().last;
    TheNotices().all.emplace(
        number, Notice{tracking, what, event->sigev_notify_function, event->sigev_value, once});
  } catch (const std::bad_alloc&) {
    errno = EAGAIN;
    return -1;
  }
  tracking->Add(what);
  ours.sigev_notify_function = Notify;
  ours.sigev_value.sival_ptr = reinterpret_cast<void*>(number);
  const int failed = ask(&ours);
  if (failed != 0) RemoveNotice(number);
  return failed;
}

int TimerCreate(clockid_t clock, sigevent* event, timer_t* timer, Tracking* tracking) {
  if (!WantsThread(event)) return Real().timer_create(clock, event, timer);
  uintptr_t number = 0;
  const int failed =
      AskFor(event, tracking, Tracked::kTimerCreate, false, number,
             [&](sigevent* ours) { return Real().timer_create(clock, ours, timer); });
  if (failed != 0) return failed;
  try {
    const std::lock_guard lock(TheNotices().mutex);
    TheNotices().by_timer[*timer] = number;
  } catch (const std::bad_alloc&) {
    // The use never ends.
  }
  return 0;
}

int TimerDelete(timer_t timer, Tracking* /*tracking*/) {
  uintptr_t number = 0;
  {
    const std::lock_guard lock(TheNotices().mutex);
    const auto found = TheNotices().by_timer.find(timer);
    if (found != TheNotices().by_timer.end()) {
      number = found->second;
      TheNotices().by_timer.erase(found);
    }
  }
  const int failed = Real().timer_delete(timer);
  RemoveNotice(number);
  return failed;
}

int MqNotify(mqd_t queue, const sigevent* event, Tracking* tracking) {
  if (!WantsThread(event)) {
    const int failed = Real().mq_notify(queue, event);
    uintptr_t number = 0;
    if (failed == 0 && event == nullptr) {
      const std::lock_guard lock(TheNotices().mutex);
      number = std::exchange(TheNotices().by_queue[queue], 0);
    }
    RemoveNotice(number);
    return failed;
  }
  uintptr_t number = 0;
  const int failed = AskFor(event, tracking, Tracked::kMqNotify, true, number,
                            [&](sigevent* ours) { return Real().mq_notify(queue, ours); });
  if (failed == 0) {
    const std::lock_guard lock(TheNotices().mutex);
    TheNotices().by_queue[queue] = number;
  }
  return failed;
}

int GetaddrinfoA(int mode, gaicb** list, int count, sigevent* event, Tracking* tracking) {
  if (!WantsThread(event)) return Real().getaddrinfo_a(mode, list, count, event);
  uintptr_t number = 0;
  return AskFor(event, tracking, Tracked::kGetaddrinfoA, true, number,
                [&](sigevent* ours) { return Real().getaddrinfo_a(mode, list, count, ours); });
}

// The end of these cannot be seen: the event lies in the caller's memory. The use never ends.
template <Tracked what>
int Aio(aiocb* request, Tracking* tracking) {
  if (WantsThread(&request->aio_sigevent)) tracking->Add(what);
  return Real().As<int(aiocb*)>(what)(request);
}
template <Tracked what>
int AioFsync(int operation, aiocb* request, Tracking* tracking) {
  if (WantsThread(&request->aio_sigevent)) tracking->Add(what);
  return Real().As<int(int, aiocb*)>(what)(operation, request);
}
template <Tracked what>
int LioListio(int mode, aiocb** list, int count, sigevent* event, Tracking* tracking) {
  bool wants = WantsThread(event);
  for (int index = 0; index < count; ++index) {
    wants = wants || (list[index] != nullptr && WantsThread(&list[index]->aio_sigevent));
  }
  if (wants) tracking->Add(what);
  return Real().As<int(int, aiocb**, int, sigevent*)>(what)(mode, list, count, event);
}

// dlclose(3) does not take these back.
template <Tracked what>
int AtExit(void* function, void* argument, Tracking* tracking) {
  tracking->Add(what);
  return Real().As<int(void*, void*)>(what)(function, argument);
}

void* Open(const char* file, int mode, Tracking* tracking) {
  return open_functions.load()->open(tracking->loader_name().c_str(), file, mode);
}
void* OpenInNamespace(long space, const char* file, int mode, Tracking* tracking) {
  return open_functions.load()->open_in_namespace(tracking->loader_name().c_str(), space, file,
                                                  mode);
}

template <typename Function>
Thunks::Target To(Function* function, unsigned arguments) {
  return {reinterpret_cast<uintptr_t>(function), arguments};
}

RealFunctions FindReal() {
  RealFunctions real{};
#ifdef __GLIBC__
  const LoaderHandle program(dlopen(nullptr, RTLD_LAZY));
  const auto find = [&](auto& function, const char* name) {
    void* address = FindSymbol(program.get(), name).value_or(nullptr);
    function = reinterpret_cast<std::decay_t<decltype(function)>>(address);
  };
  for (size_t index = 0; index < kCount; ++index) find(real.by_name[index], kNames[index].data());
  find(real.pthread_create, "pthread_create");
  find(real.thrd_create, "thrd_create");
  find(real.uv_thread_create, "uv_thread_create");
  find(real.uv_thread_create_ex, "uv_thread_create_ex");
  find(real.uv_queue_work, "uv_queue_work");
  find(real.cxa_thread_atexit_impl, "__cxa_thread_atexit_impl");
  find(real.key_create, "pthread_key_create");
  find(real.key_delete, "pthread_key_delete");
  find(real.set_specific, "pthread_setspecific");
  find(real.get_specific, "pthread_getspecific");
  find(real.timer_create, "timer_create");
  find(real.timer_delete, "timer_delete");
  find(real.mq_notify, "mq_notify");
  find(real.getaddrinfo_a, "getaddrinfo_a");
  find(real.dlsym, "dlsym");
  soswap_real_dlsym = reinterpret_cast<uintptr_t>(real.dlsym);
  real.enough = real.pthread_create != nullptr && real.cxa_thread_atexit_impl != nullptr &&
                real.key_create != nullptr && real.key_delete != nullptr &&
                real.set_specific != nullptr && real.get_specific != nullptr;
#endif
  return real;
}

}  // namespace

const RealFunctions& Real() {
  static const auto* real = new RealFunctions(FindReal());
  return *real;
}

std::optional<Tracked> TrackedNamed(std::string_view name) {
  static const auto* sorted = [] {
    auto* all = new std::vector<std::pair<std::string_view, Tracked>>;
    for (size_t index = 0; index < kCount; ++index) {
      all->emplace_back(kNames[index], static_cast<Tracked>(index));
    }
    std::sort(all->begin(), all->end());
    return all;
  }();
  const auto found = std::lower_bound(
      sorted->begin(), sorted->end(), name,
      [](const auto& each, std::string_view wanted) { return each.first < wanted; });
  if (found == sorted->end() || found->first != name) return std::nullopt;
  return found->second;
}

std::string_view NameOf(Tracked what) {
  return what == Tracked::kAtQuickExit ? "at_quick_exit" : kNames[static_cast<size_t>(what)];
}

bool IsThere(Tracked what) {
  const bool opens = what == Tracked::kDlopen || what == Tracked::kDlmopen;
  if (opens && open_functions.load() == nullptr) return false;
  return Real().Of(what) != nullptr;
}

void SetOpenFunctions(const OpenFunctions& functions) noexcept { open_functions.store(&functions); }

Thunks& ImageThunks() {
  static auto* thunks = new Thunks({
      To(PthreadCreate, 4),
      To(ThrdCreate, 3),
      To(StartStdThread, 3),
      To(UvThreadCreate, 3),
      To(UvThreadCreateEx, 4),
      To(AtThreadExit<Tracked::kThreadExitImpl>, 3),
      To(AtThreadExit<Tracked::kThreadExit>, 3),
      To(KeyCreate, 2),
      To(KeyDelete, 1),
      To(SetSpecific, 2),
      To(TssCreate, 2),
      To(TssDelete, 1),
      To(TssSet, 2),
      To(UvQueueWork, 4),
      To(TimerCreate, 3),
      To(TimerDelete, 1),
      To(MqNotify, 2),
      To(GetaddrinfoA, 4),
      To(Aio<Tracked::kAioRead>, 1),
      To(Aio<Tracked::kAioWrite>, 1),
      To(AioFsync<Tracked::kAioFsync>, 2),
      To(Aio<Tracked::kAioRead64>, 1),
      To(Aio<Tracked::kAioWrite64>, 1),
      To(AioFsync<Tracked::kAioFsync64>, 2),
      To(LioListio<Tracked::kLioListio>, 4),
      To(LioListio<Tracked::kLioListio64>, 4),
      To(AtExit<Tracked::kOnExit>, 2),
      To(AtExit<Tracked::kAtQuickExit>, 2),
      To(soswap_tracked_dlsym, 2),
      To(Open, 2),
      To(OpenInNamespace, 3),
  });
  return *thunks;
}

}  // namespace soswap

extern "C" uintptr_t soswap_tracked_address(void* handle, const char* name,
                                            const soswap::Tracking* tracking) {
  const uintptr_t address = name == nullptr ? 0 : tracking->AddressOf(name);
  if (address == 0 || handle == RTLD_DEFAULT || handle == RTLD_NEXT) return address;
  const auto what = soswap::TrackedNamed(name);
  return soswap::Real().dlsym(handle, name) == soswap::Real().Of(*what) ? address : 0;
}
