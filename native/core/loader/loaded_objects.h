#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace soswap {

// An object as the loader has it in the process.
struct LoadedObject {
  std::string name;  // link_map.l_name; empty for the main program
  std::string soname;
  std::vector<std::string> needed;
  uintptr_t start = 0;            // where its first segment is mapped
  uintptr_t end = 0;              // behind its last one
  const void* headers = nullptr;  // its program headers, which no other object has
};

// The objects of the process at one moment, in the loader's order.
class LoadedObjects final {
 public:
  using Objects = std::vector<std::shared_ptr<const LoadedObject>>;

  // Any thread. Reads only those that were loaded since it was last called.
  static LoadedObjects List();

  const Objects& all() const noexcept { return objects_; }

  // The object that the loader would take for this DT_NEEDED entry before it looks at any file.
  const LoadedObject* Find(const std::string& needed) const;

  // The object of this name and everything it needs, itself first.
  std::vector<const LoadedObject*> ClosureOf(const std::string& name) const;

  // The main program, which comes first, and everything it needs: what is never unmapped.
  std::vector<const LoadedObject*> ClosureOfProgram() const { return Closure(0); }

  // Takes the object of this name out, with all that only it needs, and returns those. They would
  // be unmapped with it unless somebody else has opened them too, which the loader does not tell.
  Objects TakeOut(const std::string& name);

 private:
  using Marks = std::vector<bool>;

  std::vector<const LoadedObject*> Closure(size_t first) const;
  size_t IndexOf(const std::string& needed) const;
  void Mark(size_t index, Marks& marks) const;

  Objects objects_;
};

// Whether the object of this name, a path, is mapped from the file that lies there now. Reads
// /proc/self/maps. Any thread.
bool IsMappedFromFile(const std::string& name);

// Those of these loaded objects, by name, whose file is no longer the one in the process: replaced,
// moved or removed since. As long as they are loaded, the loader gives the old ones to whoever asks
// for them by name. A file that was overwritten in place is not told apart. Reads /proc/self/maps
// (proc(5)): 20 µs to 1 ms. Any thread.
std::vector<std::string> ReplacedFiles(const std::vector<std::string>& names);

}  // namespace soswap
