#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/base/file_descriptor.h"
#include "core/loader/dl.h"

namespace soswap {

// What a stub object makes the loader load.
struct StubRequest {
  std::vector<std::string> needed;  // DT_NEEDED, in order
  std::string soname;               // DT_SONAME; none if empty
  std::string filter;               // DT_FILTER; none if empty
  std::string search_path;          // DT_RUNPATH or DT_RPATH; none if empty
  bool path_is_inherited = false;   // DT_RPATH, which also serves the dependencies of `needed`
  uintptr_t symbol_value = 0;       // of the bound import (core/bind/) that its words refer to
};

// The file of a stub object, for an object that needs it by its loader name. Any thread.
class StubFile final {
 public:
  // Throws Error (kSystem) if no file can be created.
  explicit StubFile(const StubRequest& request);

  const std::string& loader_name() const noexcept { return loader_name_; }

 private:
  FileDescriptor file_;
  std::string loader_name_;
};

// A generated shared object without code or data of its own (gABI chapters 4 and 5). It makes the
// loader search for other objects in directories of our choice. May be created and destroyed on any
// thread.
class StubObject final {
 public:
  // `mode` as in dlopen(3); it also applies to the objects that the stub needs. If the loader
  // refuses, loaded() is false and refusal() has its text. Throws Error (kSystem) if no file can be
  // created for it.
  StubObject(const StubRequest& request, int mode);

  StubObject(const StubObject&) = delete;
  StubObject& operator=(const StubObject&) = delete;
  ~StubObject() = default;

  bool loaded() const noexcept { return handle_ != nullptr; }
  void* handle() const noexcept { return handle_.get(); }
  const std::string& loader_name() const noexcept { return file_.loader_name(); }
  const std::string& refusal() const noexcept { return refusal_; }

  // What the loader made of the references to the bound import, one for each kind of relocation
  // that a function's address takes. Only if it is loaded.
  std::vector<uintptr_t> Words() const;

 private:
  StubFile file_;
  std::string refusal_;
  LoaderHandle handle_;
};

}  // namespace soswap
