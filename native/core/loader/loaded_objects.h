#pragma once

#include <link.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace soswap {

// One object that the loader has in the process.
struct LoadedObject {
  std::string name;  // link_map.l_name; empty for the main program
  std::string soname;
  std::vector<std::string> needed;                        // DT_NEEDED and DT_FILTER
  uintptr_t start = 0;                                    // where its first segment is mapped
  uintptr_t end = 0;                                      // where its last segment ends
  std::vector<std::pair<uintptr_t, uintptr_t>> writable;  // where its writable segments lie
  const void* headers = nullptr;  // its program headers; different for every object
  uintptr_t base = 0;
  const ElfW(Dyn) * dynamic = nullptr;
};

// The address in an entry of the dynamic section of an object that is loaded at `base`. glibc
// relocates those of a writable section, musl never does.
inline uintptr_t AddressIn(const ElfW(Dyn) & entry, uintptr_t base) noexcept {
  const auto address = static_cast<uintptr_t>(entry.d_un.d_ptr);
  return address < base ? address + base : address;
}

// The objects of the process at one moment, in the loader's order.
class LoadedObjects final {
 public:
  using Objects = std::vector<std::shared_ptr<const LoadedObject>>;

  // Any thread. Reads only the objects that were loaded since the last call.
  static LoadedObjects List();

  const Objects& all() const noexcept { return objects_; }

  // The object that the loader would use for this DT_NEEDED entry without opening a file, or null.
  // One thread at a time.
  const LoadedObject* Find(const std::string& needed) const;

  // The object of this name and everything it needs, itself first.
  std::vector<const LoadedObject*> ClosureOf(const std::string& name) const;

  // Whether the main program is or needs this object. The loader never unmaps those.
  bool IsOfProgram(const LoadedObject& object) const noexcept;

  // The objects that the process began with: the main program, those of LD_PRELOAD, and what these
  // need. The loader never unmaps them.
  std::vector<const LoadedObject*> AtStart() const;

  // Removes the object of this name and everything that only it needs, and returns them. Closing
  // the object would unmap all of them, unless other code has opened them too, which the loader
  // does not show. Leaves the dependencies of which `stays` is true, with all that they need.
  Objects TakeOut(const std::string& name,
                  const std::function<bool(const std::shared_ptr<const LoadedObject>&)>& stays);

 private:
  using Marks = std::vector<bool>;

  std::vector<const LoadedObject*> Closure(size_t first) const;
  size_t IndexOf(const std::string& needed) const;
  void MakeIndex() const;
  void Mark(size_t index, Marks& marks) const;

  Objects objects_;
  // The first object for each entry that it answers to; made once many were asked for. Views of the
  // names of objects.
  mutable std::unordered_map<std::string_view, size_t> index_;
  mutable size_t searched_ = 0;
  // The program headers of what the main program is and needs; never freed. They stay where they
  // are, while an entry of the list is made anew now and then.
  const std::vector<const void*>* program_ = nullptr;
};

// Whether the object of this name, a path, is mapped from the file that has the path now. Reads
// /proc/self/maps; false where that is missing. Any thread.
bool IsMappedFromFile(const std::string& name);

// Returns which of these loaded objects, by name, are mapped from a file that was since replaced,
// moved or removed. While they are loaded, the loader returns the old objects for these names. A
// file that was overwritten in place is not recognised. Reads /proc/self/maps (proc(5)), which
// takes 20 µs to 1 ms. Any thread.
std::vector<std::string> ReplacedFiles(const std::vector<std::string>& names);

}  // namespace soswap
