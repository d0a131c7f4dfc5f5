#pragma once

#include <link.h>

#include <string>
#include <tuple>

#include "core/elf/file.h"

namespace soswap {

// What the loader would know of an image if it had loaded the file.
struct ImageIdentity {
  std::string path;
  std::string soname;
  std::string search_path;         // DT_RUNPATH, or DT_RPATH if there is none
  bool path_is_inherited = false;  // it is DT_RPATH

  static ImageIdentity Of(const std::string& path, const ElfFacts& facts);

  bool operator<(const ImageIdentity& other) const {
    const auto fields = [](const ImageIdentity& each) {
      return std::tie(each.path, each.soname, each.search_path, each.path_is_inherited);
    };
    return fields(*this) < fields(other);
  }
};

// Makes the identity of an image known under its loader name while this exists: from before it is
// loaded, for its constructors ask, until it is unmapped. Move-only. Any thread.
class KnownImage final {
 public:
  KnownImage() = default;
  KnownImage(const std::string& loader_name, const ImageIdentity& identity);
  KnownImage(const KnownImage&) = delete;
  KnownImage& operator=(const KnownImage&) = delete;
  KnownImage(KnownImage&& other) noexcept;
  KnownImage& operator=(KnownImage&& other) noexcept;
  ~KnownImage();

  // The same identity under the name that the loader gave the image.
  KnownImage As(const std::string& loader_name) &&;

 private:
  void* entry_ = nullptr;
};

// These take no lock that is held while anything else is asked, so code inside of the loader, which
// may hold its locks, can call them. Any thread.

// The identity of the image that has this loader name; null for every other object. Kept for ever,
// once for each that ever was: a caller may keep the strings. Takes no lock at all.
const ImageIdentity* FindKnownImage(const char* loader_name) noexcept;

// The path of the library whose image has this loader name; the name itself for any other object.
std::string PathOfObject(const std::string& loader_name);

// What `map` would be if the loader had loaded the file: a copy of the documented part with the
// path as its name, which lives as long as the image. `map` itself for any other object.
link_map* AsOfFile(link_map* map) noexcept;

// Remembers that the image of this loader name opened itself with dlopen(3), and asks for it.
void MarkOpenedItself(const char* loader_name) noexcept;
bool HasOpenedItself(const char* loader_name) noexcept;

}  // namespace soswap
