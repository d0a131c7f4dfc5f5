#include "core/base/own_thread.h"

#include <memory>
#include <system_error>
#include <utility>

namespace soswap {
namespace {

void* Run(void* data) {
  const std::unique_ptr<std::function<void()>> task(static_cast<std::function<void()>*>(data));
  (*task)();
  return nullptr;
}

}  // namespace

OwnThread::OwnThread(std::function<void()> task) {
  auto given = std::make_unique<std::function<void()>>(std::move(task));
  const int failed = pthread_create(&thread_, nullptr, Run, given.get());
  if (failed != 0) throw std::system_error(failed, std::generic_category(), "pthread_create");
  static_cast<void>(given.release());  // the thread frees it
}

void OwnThread::Join() { pthread_join(thread_, nullptr); }
void OwnThread::Detach() { pthread_detach(thread_); }

}  // namespace soswap
