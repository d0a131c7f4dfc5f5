#include "core/copy/snapshot.h"

#include <fcntl.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/base/error.h"
#include "core/base/loader_name.h"
#include "core/base/page.h"
#include "core/copy/lease.h"

namespace soswap {
namespace {

// Where the program headers lie, in all but strange files.
constexpr uint64_t kHead = 4096;

[[noreturn]] void ThrowChanged(const std::string& path) {
  throw Error(Fault::kChangedWhileRead, "take a snapshot of", path, "it changed while it was read");
}

// Two equal readings, one after the other, prove that the file had exactly these bytes in between.
void ReadAgain(int fd, const std::byte* first, const FileRange& range, const std::string& path) {
  constexpr size_t kChunk = 65536;
  std::vector<std::byte> chunk(std::min<uint64_t>(kChunk, range.size));
  const uint64_t end = range.offset + range.size;
  for (uint64_t offset = range.offset; offset < end; offset += chunk.size()) {
    const size_t size = std::min<uint64_t>(chunk.size(), end - offset);
    if (ReadAt(fd, chunk.data(), size, offset, path) != size ||
        std::memcmp(chunk.data(), first + offset, size) != 0) {
      ThrowChanged(path);
    }
  }
}

}  // namespace

std::shared_ptr<Snapshot> Snapshot::Take(const std::string& path, Storage storage, Extent extent) {
  constexpr int kMostReplacements = 10;
  for (int replacements = 0; replacements < kMostReplacements; ++replacements) {
    if (auto snapshot = TakeUnlessReplaced(path, storage, extent)) return snapshot;
  }
  ThrowChanged(path);
}

std::shared_ptr<Snapshot> Snapshot::TakeUnlessReplaced(const std::string& path, Storage storage,
                                                       Extent extent) {
  const FileDescriptor file = OpenForReading(path);
  const Lease lease(file.get(), F_RDLCK);
  const FileIdentity before = Identify(file.get(), path);
  const bool is_written = lease.refused() && LeasesAreLocal(file.get());
  const bool nobody_knows = lease.refused() && !is_written;
  const bool may_change_unseen = nobody_knows || (!lease.held() && IsYoung(before));
  std::shared_ptr<Snapshot> snapshot(
      new Snapshot(before, is_written, SnapshotMemory::Borrow(path, before.size, storage)));
  snapshot->on_noexec_ = IsOnNoexec(file.get());
  // In one go what takes no new memory, because an earlier copy had it.
  constexpr uint64_t kMostAtOnce = 64 << 10;
  const uint64_t at_hand = std::clamp(snapshot->memory_->allocated(), kHead, kMostAtOnce);
  const FileRange head{0, std::min(before.size, at_hand)};
  snapshot->Copy(file.get(), head, path);
  snapshot->copied_ = {{0, before.size}};
  if (extent == Extent::kLoadable) {
    const auto headers = snapshot->bytes().first(std::min(head.size, kHead));
    snapshot->copied_ = LoadableRanges(headers, before.size);
  }
  for (const FileRange& range : snapshot->copied_) {
    const uint64_t start = std::max(range.offset, head.size);
    const uint64_t end = range.offset + range.size;
    if (start < end) snapshot->Copy(file.get(), {start, end - start}, path);
  }
  snapshot->held_ = snapshot->memory_->held();
  if (may_change_unseen) snapshot->AssertStillIn(file.get(), path);
  FileIdentity after = Identify(file.get(), path);
  if (after.DiffersInCtimeAlone(before)) {
    // Another name of the file came or went, or a writer set the mtime back: the bytes decide.
    snapshot->source_ = after;
    snapshot->AssertStillIn(file.get(), path);
    after = Identify(file.get(), path);
  }
  if (after == before || after.DiffersInCtimeAlone(before)) return snapshot;
  const FileIdentity now = Identify(OpenForReading(path).get(), path);
  if (now.inode != before.inode || now.device != before.device) return nullptr;
  ThrowChanged(path);
}

Snapshot::Snapshot(const FileIdentity& source, bool open_for_writing,
                   std::unique_ptr<SnapshotMemory> memory)
    : source_(source), open_for_writing_(open_for_writing), memory_(std::move(memory)) {}

Snapshot::~Snapshot() { SnapshotMemory::GiveBack(std::move(memory_), named_); }

// Reads these bytes of the file and zeroes the rest of the last page, as the kernel does behind the
// end of a mapped file.
void Snapshot::Copy(int file, const FileRange& range, const std::string& path) {
  if (range.size == 0) return;
  memory_->Allocate(range.offset, range.size, path);
  std::byte* target = memory_->data() + range.offset;
  if (ReadAt(file, target, range.size, range.offset, path) != range.size) ThrowChanged(path);
  const uint64_t end = range.offset + range.size;
  std::memset(target + range.size, 0, PageCeiling(end) - end);
}

void Snapshot::AssertStillIn(int file, const std::string& path) const {
  for (const FileRange& range : copied_) ReadAgain(file, bytes().data(), range, path);
}

std::string Snapshot::NewLoaderName() const {
  named_ = true;
  return soswap::NewLoaderName(descriptor());
}

bool Snapshot::SameBytesAs(const Snapshot& other) const noexcept {
  return source_.size == other.source_.size && copied_ == other.copied_ &&
         std::all_of(copied_.begin(), copied_.end(), [&](const FileRange& range) {
           return std::memcmp(memory_->data() + range.offset, other.memory_->data() + range.offset,
                              range.size) == 0;
         });
}

}  // namespace soswap
