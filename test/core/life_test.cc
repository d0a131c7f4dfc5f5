#include "core/life/life.h"

#include <dlfcn.h>
#include <doctest/doctest.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/base/error.h"
#include "core/bind/bound_imports.h"
#include "core/bind/loader_functions.h"
#include "core/copy/copy_plan.h"
#include "core/image/image.h"
#include "core/life/hook_log.h"
#include "core/resolve/inspected_snapshot.h"
#include "core/tracking/account.h"
#include "small_libraries.h"

using soswap::Error;
using soswap::Fault;
using soswap::HandedOver;
using soswap::Image;
using soswap::ImageOrigin;
using soswap::TakeSnapshot;
using soswap::test::Workshop;

namespace {

// The Makefile says where soswap.h is.
std::string Include() { return "-I'" INCLUDE "'"; }

std::shared_ptr<Image> Load(const std::string& path, bool count = false) {
  soswap::CopyPlan plan;
  plan.bind = BindAndTrack(soswap::LoaderFunctions(), count);
  const auto taken = TakeSnapshot(path, path, plan);
  soswap::AssertHostAbi(taken->elf, path);
  ImageOrigin origin;
  origin.path = path;
  origin.generation = 7;
  origin.memory_size = taken->elf.facts().memory_size;
  origin.unload = taken->unload;
  return Image::Open(std::move(origin), taken, RTLD_NOW);
}

template <typename... Arguments>
int Call(const Image& image, const char* name, Arguments... arguments) {
  return reinterpret_cast<int (*)(Arguments...)>(image.Address(name))(arguments...);
}

Fault FaultOf(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.fault();
  }
  return Fault::kSystem;
}

constexpr const char* kLibrary = R"(
  #include <soswap.h>
  #include <string.h>
  static int count, kept, refuses;
  SOSWAP_KEEP(kept);
  int add(int by) { kept += 10 * by; return count += by; }
  int kept_value(void) { return kept; }
  void refuse(int whether) { refuses = whether; }
  void soswap_save(const soswap_host* host) {
    host->save(host, "abc", 3, 1);
    host->save(host, &count, sizeof count, 2);
    if (refuses) host->refuse(host, "not now");
  }
  void soswap_load(const soswap_host* host) {
    if (host->state_version == 2) memcpy(&count, host->state, host->state_size);
    void* memory = host->allocate(10);
    host->release(memory);
    host->save(host, "ignored", 7, 9);
    host->log(host, "loaded");
    if (host->generation != 7 || host->abi != SOSWAP_ABI) host->refuse(host, "wrong host");
  }
  void soswap_unload(const soswap_host* host) {
    host->log(host, "unloaded");
    if (refuses) host->refuse(host, NULL);
  }
)";

}  // namespace

TEST_CASE("A library hands its state over to the next image, and is unloaded once") {
  const Workshop workshop;
  const std::string path = workshop.Compile("life.so", kLibrary, Include());
  const auto one = Load(path);
  one->life().Load({});
  CHECK(Call(*one, "add", 4) == 4);
  const HandedOver left = one->life().Save();
  CHECK(left.state->version == 2);
  CHECK(left.kept.size() == 1);
  const auto two = Load(path);
  two->life().Load(left);
  two->life().Load({});  // it is loaded
  CHECK(two->life().kept() == std::vector<std::string>{"kept"});
  CHECK(Call(*two, "add", 1) == 5);
  CHECK(Call(*two, "kept_value") == 50);
  CHECK(Call(*one, "add", 1) == 5);
  CHECK(one->Close().empty());
  CHECK(two->Close().empty());
  std::vector<std::string> lines;
  for (const auto& line : soswap::TakeHookLines()) lines.push_back(line.text);
  CHECK(lines == std::vector<std::string>{"loaded", "loaded", "unloaded", "unloaded"});
  CHECK(soswap::TakeHookLines().empty());
}

TEST_CASE("A hook that refuses is told, and an image that refuses to go stays") {
  const Workshop workshop;
  const auto image = Load(workshop.Compile("life.so", kLibrary, Include()));
  image->life().Load({});
  Call(*image, "refuse", 1);
  CHECK(FaultOf([&] { image->life().Save(); }) == Fault::kRefusedByLibrary);
  CHECK(FaultOf([&] { image->life().Unload(); }) == Fault::kRefusedByLibrary);
  CHECK(image->life().loaded());
  const auto reasons = image->Close();
  REQUIRE(reasons.size() == 1);
  CHECK(reasons.front().code == "refused-by-library");
  soswap::TakeHookLines();
}

TEST_CASE("The lines of hooks are those of the thread that asks, and the newest") {
  std::thread([] { soswap::WriteHookLine({"other", 1, "of another thread"}); }).join();
  for (int line = 0; line < 1001; ++line) {
    soswap::WriteHookLine({"own", 1, std::to_string(line)});
  }
  const auto lines = soswap::TakeHookLines();
  REQUIRE(lines.size() == 1000);
  CHECK(lines.front().text == "1");
}

TEST_CASE("What images take and give back on many threads is counted") {
  const Workshop workshop;
  const auto image = Load(workshop.Compile("account.so", R"(
    #include <stdlib.h>
    #include <unistd.h>
    static void* memory[64];
    int take(int index) { memory[index] = malloc(100); return 0; }
    int give(int index) { free(memory[index]); close(dup(0)); return 0; }
  )",
                                           "-fno-builtin"),
                          true);
  const std::string name = image->loader_name();
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&image, thread] {
      for (int round = 0; round < 200; ++round) {
        for (int index = thread * 16; index < thread * 16 + 16; ++index)
          Call(*image, "take", index);
        for (int index = thread * 16; index < thread * 16 + 15; ++index)
          Call(*image, "give", index);
        if (round < 199) Call(*image, "give", thread * 16 + 15);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(soswap::LeftBehindBy(name, false)->allocations == 4);
  CHECK(soswap::LeftBehindBy(name, false)->bytes == 400);
  CHECK(soswap::LeftBehindBy(name, false)->descriptors == 0);
  for (int thread = 0; thread < 4; ++thread) Call(*image, "give", thread * 16 + 15);
  CHECK(image->Close().empty());
  CHECK(soswap::LeftBehindBy(name, true)->allocations == 0);
  CHECK_FALSE(soswap::LeftBehindBy(name, true).has_value());
}
