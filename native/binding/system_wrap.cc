#include "binding/system_wrap.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include "binding/addon_data.h"
#include "binding/js_error.h"
#include "core/base/file_descriptor.h"
#include "core/base/this_thread.h"
#include "core/base/unnamed_file.h"
#include "core/bind/bound_imports.h"
#include "core/resolve/library_search.h"

namespace soswap {
namespace {

// findLibrary(name)
Napi::Value Find(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  return Translating(env, [&]() -> Napi::Value {
    return Napi::String::New(env, FindLibrary(info[0].As<Napi::String>()));
  });
}

// linkDescriptor(descriptor, path): linkat(2) of a file that was opened with O_TMPFILE.
void LinkDescriptor(const Napi::CallbackInfo& info) {
  const int descriptor = info[0].As<Napi::Number>();
  const std::string path = info[1].As<Napi::String>();
  const std::string source = "/proc/self/fd/" + std::to_string(descriptor);
  if (linkat(AT_FDCWD, source.c_str(), AT_FDCWD, path.c_str(), AT_SYMLINK_FOLLOW) != 0) {
    throw Napi::Error::New(info.Env(), std::string("linkat: ") + std::strerror(errno));
  }
}

// lockDescriptor(descriptor): flock(2), exclusive, without waiting.
Napi::Value LockDescriptor(const Napi::CallbackInfo& info) {
  const int descriptor = info[0].As<Napi::Number>();
  const bool locked = flock(descriptor, LOCK_EX | LOCK_NB) == 0;
  const char* outcome = locked ? "locked" : errno == EWOULDBLOCK ? "by-another" : "impossible";
  return Napi::String::New(info.Env(), outcome);
}

// peerUser(descriptor): SO_PEERCRED, unix(7); -1 if there is none.
Napi::Value PeerUser(const Napi::CallbackInfo& info) {
  const int descriptor = info[0].As<Napi::Number>();
  ucred peer{};
  socklen_t size = sizeof(peer);
  const bool known = getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0;
  return Napi::Number::New(info.Env(), known ? static_cast<double>(peer.uid) : -1.0);
}

// notify(socket, text): sends one datagram, as sd_notify(3) does. A name that begins with @ is an
// abstract one, unix(7). Returns errno; 0: it was sent.
Napi::Value Notify(const Napi::CallbackInfo& info) {
  const std::string path = info[0].As<Napi::String>();
  const std::string text = info[1].As<Napi::String>();
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    return Napi::Number::New(info.Env(), ENAMETOOLONG);
  }
  path.copy(address.sun_path, path.size());
  if (path.front() == '@') address.sun_path[0] = '\0';
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
  const FileDescriptor socket_file(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const bool sent = socket_file.valid() &&
                    sendto(socket_file.get(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
                           reinterpret_cast<const sockaddr*>(&address), size) >= 0;
  return Napi::Number::New(info.Env(), sent ? 0 : errno);
}

// openMemoryFile(size): the descriptor of a file that has no name. With a size it has so many
// bytes, all 0, and in memory gets no more.
Napi::Value OpenMemoryFile(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const int64_t size = info[0].IsUndefined() ? 0 : info[0].As<Napi::Number>().Int64Value();
  FileDescriptor file = Translating(env, [size] {
    auto created = CreateUnnamedFile("soswap-report", Storage::kMemory, FileUse::kData);
    if (size > 0 && ftruncate(created.get(), size) == 0) {
      static_cast<void>(fcntl(created.get(), F_ADD_SEALS, F_SEAL_GROW));  // of memory files alone
    }
    return created;
  });
  const int descriptor = file.get();
  env.GetInstanceData<AddonData>()->memory_files.emplace(descriptor, std::move(file));
  return Napi::Number::New(env, descriptor);
}

// reopenReadOnly(descriptor)
Napi::Value ReopenReadOnly(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const int original = info[0].As<Napi::Number>();
  FileDescriptor file = Translating(env, [&] { return ReopenForReading(original); });
  const int descriptor = file.get();
  env.GetInstanceData<AddonData>()->memory_files.emplace(descriptor, std::move(file));
  return Napi::Number::New(env, descriptor);
}

// closeMemoryFile(descriptor)
void CloseMemoryFile(const Napi::CallbackInfo& info) {
  info.Env().GetInstanceData<AddonData>()->memory_files.erase(info[0].As<Napi::Number>());
}

// threadId()
Napi::Value ThreadId(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), ThisThread());
}

// dieWithParent(parent, thread, seconds): ends this process when the thread that started it ends,
// prctl(2), or when the time is up, alarm(2), whatever it is doing then.
void DieWithParent(const Napi::CallbackInfo& info) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const pid_t parent = info[0].As<Napi::Number>();
  const pid_t thread = info[1].As<Napi::Number>();
  // They may have ended before.
  if (getppid() != parent || (syscall(SYS_tgkill, parent, thread, 0) != 0 && errno == ESRCH)) {
    _exit(EXIT_FAILURE);
  }
  alarm(info[2].As<Napi::Number>());
}

// endWithThread(child)
void EndWithThread(const Napi::CallbackInfo& info) {
  info.Env().GetInstanceData<AddonData>()->children.Add(info[0].As<Napi::Number>());
}

// hasEnded(child)
void HasEnded(const Napi::CallbackInfo& info) {
  info.Env().GetInstanceData<AddonData>()->children.Remove(info[0].As<Napi::Number>());
}

// endChildren()
void EndChildren(const Napi::CallbackInfo& info) {
  info.Env().GetInstanceData<AddonData>()->children.EndAll();
}

// leaveNoCore(): no core(5) file is written when this process crashes.
void LeaveNoCore(const Napi::CallbackInfo&) {
  const rlimit none{};
  setrlimit(RLIMIT_CORE, &none);
}

// stackAddress()
Napi::Value StackAddress(const Napi::CallbackInfo& info) {
  const auto address = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
  return Napi::Number::New(info.Env(), static_cast<double>(address));
}

// unboundImports(): why private copies stay unbound in this process. Empty if they do not, or if
// the C library never takes bound imports, as musl.
Napi::Value UnboundImports(const Napi::CallbackInfo& info) {
#ifdef __GLIBC__
  return Napi::String::New(info.Env(), WhyImportsStayUnbound());
#else
  return Napi::String::New(info.Env(), "");
#endif
}

}  // namespace

void InitSystem(Napi::Env env, Napi::Object exports) {
  exports["linkDescriptor"] = Napi::Function::New<LinkDescriptor>(env, "linkDescriptor");
  exports["lockDescriptor"] = Napi::Function::New<LockDescriptor>(env, "lockDescriptor");
  exports["peerUser"] = Napi::Function::New<PeerUser>(env, "peerUser");
  exports["notify"] = Napi::Function::New<Notify>(env, "notify");
  exports["openMemoryFile"] = Napi::Function::New<OpenMemoryFile>(env, "openMemoryFile");
  exports["reopenReadOnly"] = Napi::Function::New<ReopenReadOnly>(env, "reopenReadOnly");
  exports["closeMemoryFile"] = Napi::Function::New<CloseMemoryFile>(env, "closeMemoryFile");
  exports["leaveNoCore"] = Napi::Function::New<LeaveNoCore>(env, "leaveNoCore");
  exports["threadId"] = Napi::Function::New<ThreadId>(env, "threadId");
  exports["endWithThread"] = Napi::Function::New<EndWithThread>(env, "endWithThread");
  exports["hasEnded"] = Napi::Function::New<HasEnded>(env, "hasEnded");
  exports["endChildren"] = Napi::Function::New<EndChildren>(env, "endChildren");
  exports["dieWithParent"] = Napi::Function::New<DieWithParent>(env, "dieWithParent");
  exports["stackAddress"] = Napi::Function::New<StackAddress>(env, "stackAddress");
  exports["unboundImports"] = Napi::Function::New<UnboundImports>(env, "unboundImports");
  exports["findLibrary"] = Napi::Function::New<Find>(env, "findLibrary");
}

}  // namespace soswap
