#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/call_count.h"
#include "core/copy/snapshot.h"
#include "core/image/dependency_states.h"
#include "core/image/dependency_use.h"
#include "core/image/known_image.h"
#include "core/loader/dl.h"
#include "core/loader/unload.h"
#include "core/tracking/tracking.h"

namespace soswap {

// Where an image comes from.
struct ImageOrigin {
  std::string path;
  uint32_t generation = 0;
  FileIdentity source;
  std::optional<std::string> build_id;
  uint64_t memory_size = 0;  // bytes of address space
  uint64_t copy_size = 0;    // bytes that the private copy holds; 0: the loader maps the file
  UnloadFacts unload;
  bool from_file = false;     // the loader mapped the file itself
  bool of_c_library = false;  // the process uses it without us
  bool may_unmap = true;  // if nobody gives the image up: its handle was dropped, its thread ends
  pid_t thread = 0;       // whose handle it is, as gettid(2) numbers it
};

// One entry of the list of images that soswap has loaded into this process.
struct LoadedImage {
  ImageOrigin origin;
  std::string loader_name;
  uintptr_t base = 0;
  KnownImage known;
  CallCount calls;
  std::shared_ptr<Tracking> tracking;  // null: nothing of it is tracked
  DependencyUse dependencies;
  DependencyStates states;
  bool is_global = false;              // other objects may be bound to its symbols
  std::vector<RetainReason> retained;  // empty: live
  uint64_t written = 0;                // bytes of its own pages, when they were last counted
  uint64_t history = 0;                // bytes of the copies that its handle can go back to
  std::vector<std::string> hooks;      // the names of those of soswap.h that it exports
  std::vector<std::string> keeps;      // the names of the variables that it keeps
};

// What LoadedImages() tells of one image.
struct LoadedImageInfo {
  ImageOrigin origin;
  std::string loader_name;
  uintptr_t base;
  int32_t calls_in_flight;
  std::vector<RetainReason> retained;
  uint64_t written;
  uint64_t history;
  std::vector<std::string> hooks;
  std::vector<std::string> keeps;
  std::vector<std::string> bound;  // the objects that are bound to its symbols
};

// Images, and the bytes that they hold: private copies, and pages that were written.
struct MemoryUse {
  size_t images = 0;
  uint64_t bytes = 0;
};

// What an image that the loader knows by this name was mapped from: "snapshot" or the path.
// Part of `origin` or a literal.
std::string_view MappedFrom(const ImageOrigin& origin) noexcept;

// The list is one for the process, because the loader's is: workers see each other's images. Any
// thread. An image that the loader returns again is no longer a retained one.
void AddLoadedImage(const std::shared_ptr<LoadedImage>& image);
void RemoveLoadedImage(const LoadedImage& image);
// Whether another live image has the same loader name: the loader has returned it twice.
bool IsShared(const LoadedImage& image);
// How many live images go by this loader name.
size_t HoldersOf(const std::string& loader_name);
// Whether a live image of this file, in this state, goes by this loader name.
bool IsLiveImageOf(const std::string& loader_name, const FileIdentity& source);
// Whether an image of this loader name is open, or stays mapped for another reason than that others
// need it.
bool StaysOpen(const std::string& loader_name);

// An image of another handle that a library is, or would be, bound to, although the handle runs
// another one by now, or its file is another one.
struct StaleImage {
  std::string loader_name;
  std::string path;
  uint32_t generation = 0;
  bool given_up = false;               // its handle does not run it any more
  std::vector<std::string> needed_by;  // other objects, in words for users
};

// Those among these loaded objects.
std::vector<StaleImage> StaleImages(const std::vector<std::string>& loader_names);

// Makes the list show the bytes of the copies that the handle of the image can go back to.
void ShowHistory(LoadedImage& image, uint64_t bytes);

void MarkRetained(LoadedImage& image, std::vector<RetainReason> reasons);

// Closes the handle of an image, unless code of the image may still run: then the image waits, with
// its handle, until SweepWaiting() finds that nothing does. `force`: closes it in any case. Returns
// why it is still mapped. Runs what is due on this thread at the end of it, and code of the image.
std::vector<RetainReason> CloseOrWait(const std::shared_ptr<LoadedImage>& image,
                                      LoaderHandle handle, bool force);
// Why code of a loaded image may still run, beside what is due on this thread.
std::vector<RetainReason> WhyInUse(const LoadedImage& image);
// Tries the waiting images again whose handles belong to this thread, or to none any more.
// `needed_alone`: those that wait only because other objects needed them. Returns how many images
// wait.
size_t SweepWaiting(bool needed_alone = false);
// The handles of this thread are gone: any thread may close its waiting images.
void OrphanWaiting();
// Takes the handle of a waiting image back; null if there is none of this loader name.
LoaderHandle TakeWaiting(const std::string& loader_name);

// Every live image, and every retained one that is still there.
std::vector<LoadedImageInfo> LoadedImages();

// The retained images of all threads, those of closed handles too, as they were last counted: each
// when it was given up, and all by LoadedImages().
MemoryUse RetainedImages();
// How many of them were opened from this path.
size_t RetainedImagesOf(const std::string& path);
// The bytes that each of these images holds now; nothing for one that is not loaded any more. Takes
// one walk through the loader's list, however many they are.
std::vector<std::optional<uint64_t>> HeldBytes(const std::vector<std::string>& loader_names);
// Which of these are loaded, in one walk too.
std::vector<bool> AreLoaded(const std::vector<std::string>& loader_names);
// How many objects the loader has unmapped so far.
uint64_t UnmappedObjects() noexcept;

// The limit of the retained images of the process. It only stands here: whoever opens and swaps
// asks for it. Any thread.
MemoryUse RetainedLimit();
void SetRetainedLimit(const MemoryUse& limit);

// Whether the process has an object loaded that carries this name, by any handle. Any thread.
bool IsLoaded(const std::string& loader_name);

}  // namespace soswap
