#pragma once

#include <memory>
#include <unordered_set>

#include "binding/call/bound_table.h"
#include "binding/id_table.h"
#include "core/image/image_request.h"

namespace soswap {

// What one handle has taken and loaded.
struct LibraryObjects {
  IdTable<InspectedSnapshot> snapshots;
  IdTable<Image> images;
};

// The slot tables and the libraries of one environment. A wrap adds its object, and removes it when
// JavaScript lets the wrap go; what is left when the environment ends is closed in one place, in
// order. Used on the thread of the environment.
class OwnedObjects final {
 public:
  OwnedObjects() = default;
  OwnedObjects(const OwnedObjects&) = delete;
  OwnedObjects& operator=(const OwnedObjects&) = delete;
  ~OwnedObjects() = default;

  void Add(std::shared_ptr<BoundTable> table) { tables_.insert(std::move(table)); }
  void Add(std::shared_ptr<LibraryObjects> library) { libraries_.insert(std::move(library)); }
  void Remove(const std::shared_ptr<BoundTable>& table) { tables_.erase(table); }
  void Remove(const std::shared_ptr<LibraryObjects>& library) { libraries_.erase(library); }

  // First no function points at an image any more, then the images are closed or left mapped, then
  // the copies go. An image in which a nonblocking call runs stays open until the call returns.
  void CloseAll() noexcept {
    for (const auto& table : tables_) {
      table->EndObservation();
      table->Detach(SlotTable::State::kClosed);
    }
    for (const auto& library : libraries_) library->images.Clear();
    OrphanWaiting();
    for (const auto& library : libraries_) library->snapshots.Clear();
  }

 private:
  std::unordered_set<std::shared_ptr<BoundTable>> tables_;
  std::unordered_set<std::shared_ptr<LibraryObjects>> libraries_;
};

}  // namespace soswap
