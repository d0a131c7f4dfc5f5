#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>

namespace soswap::test {

// Runs a command of the shell; its exit status.
inline int Run(const std::string& command) {
  const int status = std::system(command.c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

inline std::string Quoted(const std::string& text) { return "'" + text + "'"; }

inline std::string ReadText(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

inline void WriteText(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

// A directory for one test case, in which it compiles the shared objects that it needs.
class Workshop final {
 public:
  Workshop() : path_("/tmp/soswap-test-XXXXXX") {
    if (mkdtemp(path_.data()) == nullptr) throw std::runtime_error("no temporary directory");
  }
  Workshop(const Workshop&) = delete;
  Workshop& operator=(const Workshop&) = delete;
  ~Workshop() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

  // Compiles C source to a new file, which then takes the place of an older one. Returns its path.
  std::string Compile(const std::string& name, const std::string& source,
                      const std::string& flags = "") const {
    const std::string target = *this / name;
    std::filesystem::create_directories(std::filesystem::path(target).parent_path());
    WriteText(target + ".c", source);
    const char* compiler = std::getenv("CC");
    const std::string command = std::string(compiler != nullptr ? compiler : "cc") +
                                " -shared -fPIC -Wl,--no-as-needed -o " + Quoted(target + ".new") +
                                " " + Quoted(target + ".c") + " " + flags;
    if (Run(command) != 0) throw std::runtime_error("cannot compile: " + command);
    std::filesystem::remove(target + ".c");
    std::filesystem::rename(target + ".new", target);
    return target;
  }

 private:
  std::string path_;
};

// Runs one test case of this program, which is skipped otherwise, in a process of its own with
// these variables ("A=b C=d"). Its exit status.
inline int RunTestCase(const std::string& name, const std::string& variables) {
  const std::string program = std::filesystem::read_symlink("/proc/self/exe").string();
  return Run("env " + variables + " " + Quoted(program) +
             " --minimal --no-skip --test-case=" + Quoted(name));
}

}  // namespace soswap::test
