#include "core/tracking/thread_starts.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <optional>
#include <sstream>
#include <thread>

#include "core/base/file_descriptor.h"
#include "core/base/this_thread.h"
#include "core/loader/object_symbols.h"

namespace soswap {
namespace {

// Where things lie in the descriptor of a thread, from the list that the kernel knows.
struct Layout {
  int64_t function = 0;  // followed by its argument
};

// 0 where the thread has none: it ends, or another library made it, or the kernel.
uintptr_t RobustListOf(pid_t thread) {
  void* head = nullptr;
  size_t size = 0;
  if (syscall(SYS_get_robust_list, thread, &head, &size) != 0) return 0;
  return reinterpret_cast<uintptr_t>(head);
}

FileDescriptor OpenMemory() { return FileDescriptor(open("/proc/self/mem", O_RDONLY | O_CLOEXEC)); }

// Returns how many words could be read.
template <size_t kCount>
size_t Read(const FileDescriptor& memory, uintptr_t address, std::array<uintptr_t, kCount>& words) {
  const ssize_t size = pread(memory.get(), words.data(), sizeof words, static_cast<off_t>(address));
  return size < 0 ? 0 : static_cast<size_t>(size) / sizeof(uintptr_t);
}

struct Probe {
  uintptr_t list = 0;
  uintptr_t descriptor = 0;
  std::array<uintptr_t, 512> words{};
  size_t count = 0;
};

void* RunProbe(void* argument) {
  auto& probe = *static_cast<Probe*>(argument);
  probe.list = RobustListOf(0);
  probe.descriptor = static_cast<uintptr_t>(pthread_self());
  probe.count = Read(OpenMemory(), probe.descriptor, probe.words);
  return nullptr;
}

std::optional<Layout> FindLayout() {
#ifdef __GLIBC__
  // The runtime of a sanitizer starts all threads in a function of its own.
  if (ProgramSymbols().Find("__sanitizer_set_death_callback") != nullptr) return std::nullopt;
  const auto probe = std::make_unique<Probe>();
  pthread_t thread{};
  if (pthread_create(&thread, nullptr, RunProbe, probe.get()) != 0) return std::nullopt;
  pthread_join(thread, nullptr);
  if (probe->list == 0) return std::nullopt;
  const std::array<uintptr_t, 2> wanted{reinterpret_cast<uintptr_t>(RunProbe),
                                        reinterpret_cast<uintptr_t>(probe.get())};
  const auto* end = probe->words.data() + probe->count;
  const auto* found = std::search(static_cast<const uintptr_t*>(probe->words.data()), end,
                                  wanted.begin(), wanted.end());
  if (found == end) return std::nullopt;
  const auto offset = static_cast<uintptr_t>(found - probe->words.data()) * sizeof(uintptr_t);
  return Layout{static_cast<int64_t>(probe->descriptor + offset - probe->list)};
#else
  return std::nullopt;
#endif
}

// What the kernel says of a thread; empty where the thread is gone, nothing where that is not
// known.
std::optional<std::string> ReadOfThread(pid_t thread, const char* name) {
  const std::string path = "/proc/self/task/" + std::to_string(thread) + "/" + name;
  const FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return errno == ENOENT ? std::optional<std::string>("") : std::nullopt;
  std::array<char, 4096> text{};
  const ssize_t size = read(file.get(), text.data(), text.size());
  if (size < 0) return errno == ESRCH ? std::optional<std::string>("") : std::nullopt;
  return std::string(text.data(), static_cast<size_t>(size));
}

// Whether the thread runs no code of the process: a worker of io_uring(7), or one that the kernel
// is about to remove, or has removed (proc_pid_stat(5): flags).
bool RunsNothing(pid_t thread) {
  constexpr unsigned long kExiting = 0x4;
  constexpr unsigned long kIoWorker = 0x10;
  const auto line = ReadOfThread(thread, "stat");
  if (!line || line->empty()) return line.has_value();
  const auto name_end = line->rfind(')');
  if (name_end == std::string::npos) return false;
  std::istringstream fields(line->substr(name_end + 1));
  std::string skipped;
  for (int field = 0; field < 6; ++field) fields >> skipped;
  unsigned long flags = 0;
  return fields >> flags && (flags & (kExiting | kIoWorker)) != 0;
}

// Whether the thread waits for its first moment on a processor, or has not left it since.
bool IsInFirstTurn(pid_t thread) {
  const auto text = ReadOfThread(thread, "status");
  if (!text || text->find("\nState:\tR") == std::string::npos) return false;
  return text->find("\nvoluntary_ctxt_switches:\t0\n") != std::string::npos &&
         text->find("\nnonvoluntary_ctxt_switches:\t0\n") != std::string::npos;
}

void ReadStart(const Layout& layout, const FileDescriptor& memory, ThreadStart& start) {
  const uintptr_t list = RobustListOf(start.thread);
  std::array<uintptr_t, 2> words{};
  if (list == 0) return;
  const size_t count = Read(memory, list + static_cast<uintptr_t>(layout.function), words);
  if (count != words.size() || words[0] == 0) return;
  start.known = true;
  start.function = words[0];
  start.argument = words[1];
  Read(memory, start.argument, start.at_argument);
}

struct DirectoryCloser {
  void operator()(DIR* directory) const noexcept { closedir(directory); }
};

}  // namespace

std::vector<ThreadStart> LookAtThreads() {
  static const std::optional<Layout> layout = FindLayout();
  const FileDescriptor memory = OpenMemory();
  const std::unique_ptr<DIR, DirectoryCloser> tasks(opendir("/proc/self/task"));
  if (tasks == nullptr) return {ThreadStart{.thread = getpid()}};  // that is not known
  std::vector<ThreadStart> starts;
  while (const dirent* entry = readdir(tasks.get())) {
    const auto thread = static_cast<pid_t>(std::strtol(entry->d_name, nullptr, 10));
    if (thread == 0 || thread == ThisThread()) continue;
    ThreadStart start{.thread = thread, .known = thread == getpid()};
    if (!start.known && layout) ReadStart(*layout, memory, start);
    starts.push_back(start);
  }
  // One that has just been made, or that ends, has no list: the next look is clearer. On a busy
  // machine it takes long until one runs at all; JavaScript may be waiting.
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(50);
  constexpr int kLooks = 5;
  for (ThreadStart& start : starts) {
    for (int look = 0; layout && !start.known && look < kLooks;) {
      if (RunsNothing(start.thread)) break;
      const bool waits = IsInFirstTurn(start.thread) && std::chrono::steady_clock::now() < deadline;
      if (!waits) ++look;
      std::this_thread::sleep_for(std::chrono::microseconds(200));
      ReadStart(*layout, memory, start);
    }
  }
  std::erase_if(starts,
                [](const ThreadStart& start) { return !start.known && RunsNothing(start.thread); });
  return starts;
}

std::string DescribeThread(pid_t thread) {
  std::ifstream file("/proc/self/task/" + std::to_string(thread) + "/comm");
  std::string name;
  std::getline(file, name);
  return "thread " + std::to_string(thread) + (name.empty() ? "" : " ('" + name + "')");
}

}  // namespace soswap
