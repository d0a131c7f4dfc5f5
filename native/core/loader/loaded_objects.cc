#include "core/loader/loaded_objects.h"

#include <link.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <string_view>
#include <utility>

#include "core/base/loader_name.h"
#include "core/base/path.h"

namespace soswap {
namespace {

const char* StringsOf(const ElfW(Dyn) * dynamic, uintptr_t base) {
  for (; dynamic->d_tag != DT_NULL; ++dynamic) {
    if (dynamic->d_tag == DT_STRTAB)
      return reinterpret_cast<const char*>(AddressIn(*dynamic, base));
  }
  return nullptr;
}

void ReadDynamic(const ElfW(Dyn) * dynamic, uintptr_t base, LoadedObject& object) {
  const char* strings = StringsOf(dynamic, base);
  if (strings == nullptr) return;
  for (; dynamic->d_tag != DT_NULL; ++dynamic) {
    const char* text = strings + dynamic->d_un.d_val;
    // The loader loads a filtee like a dependency.
    if (dynamic->d_tag == DT_NEEDED || dynamic->d_tag == DT_FILTER) {
      object.needed.emplace_back(text);
    }
    if (dynamic->d_tag == DT_SONAME) object.soname = text;
  }
}

LoadedObject Describe(const dl_phdr_info& info) {
  LoadedObject object;
  object.name = info.dlpi_name;
  object.headers = info.dlpi_phdr;
  const auto base = static_cast<uintptr_t>(info.dlpi_addr);
  object.base = base;
  for (size_t i = 0; i < info.dlpi_phnum; ++i) {
    const ElfW(Phdr)& header = info.dlpi_phdr[i];
    const uintptr_t start = base + header.p_vaddr;
    if (header.p_type == PT_DYNAMIC) {
      object.dynamic = reinterpret_cast<const ElfW(Dyn)*>(start);
      ReadDynamic(object.dynamic, base, object);
    }
    if (header.p_type != PT_LOAD) continue;
    if (object.end == 0) object.start = start;
    object.end = std::max(object.end, start + header.p_memsz);
    if ((header.p_flags & PF_W) != 0) object.writable.emplace_back(start, start + header.p_memsz);
  }
  return object;
}

// The objects at one moment, and how many the loader had unloaded until then.
struct Listing {
  LoadedObjects::Objects objects;
  unsigned long long unloaded = 0;
};

// Makes the next list out of the last one. The loader appends objects that it loads and removes
// objects that it unloads. So if it has unloaded n objects since, all but n of the last list, at
// least, still lead the list, in the same order.
class Relisting final {
 public:
  explicit Relisting(const Listing& before) : before_(before) {
    now_.objects.reserve(before.objects.size() + 1);
  }

  Listing Run() && {
    dl_iterate_phdr([](dl_phdr_info* info, size_t,
                       void* self) { return static_cast<Relisting*>(self)->Visit(*info) ? 0 : 1; },
                    this);
    if (out_of_memory_) throw std::bad_alloc();
    return std::move(now_);
  }

 private:
  // Returns false to end the iteration. No exception may pass through the C library, which holds a
  // lock meanwhile.
  bool Visit(const dl_phdr_info& info) noexcept {
    try {
      Add(info);
    } catch (...) {
      out_of_memory_ = true;
    }
    return !out_of_memory_;
  }

  void Add(const dl_phdr_info& info) {
    if (now_.objects.empty()) now_.unloaded = info.dlpi_subs;
    const auto& before = before_.objects;
    const unsigned long long unloaded = now_.unloaded - before_.unloaded;
    const bool was_there = now_.objects.size() + unloaded < before.size();
    while (was_there && at_ < before.size() && before[at_]->headers != info.dlpi_phdr) ++at_;
    now_.objects.push_back(was_there && at_ < before.size()
                               ? before[at_++]
                               : std::make_shared<const LoadedObject>(Describe(info)));
  }

  const Listing& before_;
  Listing now_;
  size_t at_ = 0;  // in `before_`
  bool out_of_memory_ = false;
};

// The loader knows an object without a SONAME by the name that it was first requested by, and does
// not show that name. A search would have been for the last part of its path.
bool Answers(const LoadedObject& object, const std::string& needed) {
  if (needed.empty()) return false;
  const std::string& name = object.name;
  if (name == needed || object.soname == needed) return true;
  return name.size() > needed.size() && name[name.size() - needed.size() - 1] == '/' &&
         name.ends_with(needed) && needed.find('/') == std::string::npos;
}

struct Mapping {
  uintptr_t start = 0;
  uintptr_t end = 0;
  std::string_view file;  // part of the line
  dev_t device = 0;
  ino_t inode = 0;
};

// One line of /proc/self/maps: "start-end perms offset major:minor inode   file".
std::optional<Mapping> ReadLine(const std::string& line) {
  unsigned long start = 0;
  unsigned long end = 0;
  unsigned long inode = 0;
  unsigned major_number = 0;
  unsigned minor_number = 0;
  int name_at = 0;
  // NOLINTNEXTLINE(cert-err34-c): the kernel writes these numbers
  if (std::sscanf(line.c_str(), "%lx-%lx %*s %*x %x:%x %lu %n", &start, &end, &major_number,
                  &minor_number, &inode, &name_at) < 5) {
    return std::nullopt;
  }
  return Mapping{start, end, std::string_view(line).substr(static_cast<size_t>(name_at)),
                 makedev(major_number, minor_number), inode};
}

// Some file systems (overlayfs, btrfs) report different devices in maps and in stat(2). There the
// path decides: maps shows the new path of a moved file, and marks a removed or replaced one.
bool IsStill(const Mapping& mapping, const std::string& path) {
  struct stat status {};
  if (stat(path.c_str(), &status) != 0) return false;
  if (status.st_dev == mapping.device && status.st_ino == mapping.inode) return true;
  const std::unique_ptr<char, decltype(&std::free)> real(realpath(path.c_str(), nullptr),
                                                         &std::free);
  return real != nullptr && mapping.file == real.get();
}

// The names of the objects whose path leads to another file now. Leaves in `objects` those about
// which the system says nothing.
std::vector<std::string> Replaced(std::vector<const LoadedObject*>& objects) {
  std::vector<std::string> replaced;
  std::ifstream maps("/proc/self/maps");
  maps.exceptions(std::ios::badbit);  // otherwise std::getline() hides a failed allocation
  for (std::string line; !objects.empty() && std::getline(maps, line);) {
    const auto mapping = ReadLine(line);
    if (!mapping) continue;
    const auto found =
        std::find_if(objects.begin(), objects.end(), [&](const LoadedObject* object) {
          return object->start >= mapping->start && object->start < mapping->end;
        });
    if (found == objects.end()) continue;
    if (!IsStill(*mapping, (*found)->name)) replaced.push_back((*found)->name);
    objects.erase(found);
  }
  return replaced;
}

}  // namespace

LoadedObjects LoadedObjects::List() {
  static std::mutex mutex;
  static auto* last =
      new Listing;  // never destroyed: threads may still run while the process exits
  const std::lock_guard lock(mutex);
  Listing now = Relisting(*last).Run();
  LoadedObjects list;
  list.objects_ = now.objects;
  *last = std::move(now);
  static const std::vector<const void*>* program = nullptr;
  if (program == nullptr) {
    std::vector<const void*> headers;
    for (const LoadedObject* object : list.Closure(0)) headers.push_back(object->headers);
    program = new std::vector<const void*>(std::move(headers));
  }
  list.program_ = program;
  return list;
}

// As Answers() says.
void LoadedObjects::MakeIndex() const {
  for (size_t i = 0; i < objects_.size(); ++i) {
    const LoadedObject& object = *objects_[i];
    for (const std::string_view name :
         {std::string_view(object.name), LastPart(object.name), std::string_view(object.soname)}) {
      if (!name.empty()) index_.emplace(name, i);
    }
  }
}

size_t LoadedObjects::IndexOf(const std::string& needed) const {
  // It takes as long as some thirty searches through so many objects do.
  constexpr size_t kManyObjects = 64;
  constexpr size_t kManySearches = 32;
  if (++searched_ == kManySearches && objects_.size() >= kManyObjects) MakeIndex();
  if (!index_.empty()) {
    const auto known = index_.find(needed);
    return known == index_.end() ? objects_.size() : known->second;
  }
  const auto found = std::find_if(objects_.begin(), objects_.end(),
                                  [&](const auto& object) { return Answers(*object, needed); });
  return static_cast<size_t>(found - objects_.begin());
}

const LoadedObject* LoadedObjects::Find(const std::string& needed) const {
  const size_t index = IndexOf(needed);
  return index < objects_.size() ? objects_[index].get() : nullptr;
}

void LoadedObjects::Mark(size_t index, Marks& marks) const {
  if (index >= objects_.size() || marks[index]) return;
  marks[index] = true;
  for (const std::string& needed : objects_[index]->needed) Mark(IndexOf(needed), marks);
}

std::vector<const LoadedObject*> LoadedObjects::ClosureOf(const std::string& name) const {
  return Closure(IndexOf(name));
}

bool LoadedObjects::IsOfProgram(const LoadedObject& object) const noexcept {
  return std::find(program_->begin(), program_->end(), object.headers) != program_->end();
}

std::vector<const LoadedObject*> LoadedObjects::Closure(size_t first) const {
  Marks marks(objects_.size());
  Mark(first, marks);
  std::vector<const LoadedObject*> closure;
  if (first < objects_.size()) closure.push_back(objects_[first].get());
  for (size_t i = 0; i < objects_.size(); ++i) {
    if (marks[i] && i != first) closure.push_back(objects_[i].get());
  }
  return closure;
}

std::vector<const LoadedObject*> LoadedObjects::AtStart() const {
  Marks needed(objects_.size());
  Mark(0, needed);
  size_t end = objects_.size();
  while (end > 0 && !needed[end - 1]) --end;
  std::vector<const LoadedObject*> objects;
  objects.reserve(end);
  for (size_t i = 0; i < end; ++i) objects.push_back(objects_[i].get());
  return objects;
}

LoadedObjects::Objects LoadedObjects::TakeOut(
    const std::string& name,
    const std::function<bool(const std::shared_ptr<const LoadedObject>&)>& stays) {
  const size_t first = IndexOf(name);
  Marks below(objects_.size());
  Mark(first, below);
  Marks staying(objects_.size());
  for (size_t i = 0; i < objects_.size(); ++i) staying[i] = IsOfProgram(*objects_[i]);
  for (size_t i = 0; i < objects_.size(); ++i) {
    if (!below[i] || (i != first && !staying[i] && stays(objects_[i]))) Mark(i, staying);
  }
  Objects taken;
  Objects left;
  for (size_t i = 0; i < objects_.size(); ++i) {
    (staying[i] ? left : taken).push_back(std::move(objects_[i]));
  }
  objects_ = std::move(left);
  index_.clear();
  searched_ = 0;
  return taken;
}

bool IsMappedFromFile(const std::string& name) {
  const LoadedObjects objects = LoadedObjects::List();
  const LoadedObject* object = objects.Find(name);
  if (object == nullptr) return false;
  std::vector<const LoadedObject*> unknown{object};
  return Replaced(unknown).empty() && unknown.empty();
}

std::vector<std::string> ReplacedFiles(const std::vector<std::string>& names) {
  if (names.empty()) return {};
  const LoadedObjects objects = LoadedObjects::List();
  std::vector<const LoadedObject*> wanted;
  for (const auto& object : objects.all()) {
    if (IsLoaderNameOfDescriptor(object->name)) continue;
    if (std::find(names.begin(), names.end(), object->name) != names.end()) {
      wanted.push_back(object.get());
    }
  }
  return Replaced(wanted);
}

}  // namespace soswap
