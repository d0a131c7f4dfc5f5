#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "snapshot.h"

namespace soswap {

// One loaded copy of a shared object. Open, Symbol and Close may run on any thread, one at a time.
class Image final {
 public:
  // Loads the snapshot under a name of its own. `path` is the file it was taken from, for messages.
  // `mode` as in dlopen(3). Throws Error (kLoader) with the loader's text.
  static std::shared_ptr<Image> Open(const std::string& path, std::shared_ptr<Snapshot> snapshot,
                                     int mode);

  // Loads the file itself. If an object of that name or inode is loaded already, that one is
  // returned, as dlopen(3) does: look with IsLoaded() first.
  static std::shared_ptr<Image> OpenDirect(const std::string& path, int mode);

  Image(const Image&) = delete;
  Image& operator=(const Image&) = delete;

  // Closes silently, unless Close() or Keep() was called.
  ~Image();

  // The address of a symbol in this image or in what it depends on, as dlsym(3) finds it; nothing
  // if it is absent. A symbol may have the address null.
  std::optional<void*> Symbol(const std::string& name) const;

  // Calls dlclose(3) and then looks whether the image is still mapped, because the return value
  // does not tell. True if it is gone. Its snapshot is given up in either case.
  bool Close();

  // Leaves the image mapped for as long as the process lives.
  void Keep() noexcept;

  bool open() const noexcept { return handle_ != nullptr; }
  const std::string& path() const noexcept { return path_; }
  const std::string& loader_name() const noexcept { return loader_name_; }
  uintptr_t base() const noexcept { return base_; }
  const std::shared_ptr<Snapshot>& snapshot() const noexcept { return snapshot_; }

  // Whether the process has an object loaded that carries this name, by any handle.
  static bool IsLoaded(const std::string& loader_name);

 private:
  Image(std::string path, std::string loader_name, std::shared_ptr<Snapshot> snapshot, int mode);

  std::string path_;
  std::string loader_name_;
  std::shared_ptr<Snapshot> snapshot_;
  void* handle_ = nullptr;
  uintptr_t base_ = 0;
};

}  // namespace soswap
