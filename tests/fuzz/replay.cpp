// Runs fuzz targets over their seeds and over files of a corpus: what was found once stays found. All
// targets in one program, which builds sooner than as many programs.
//
//     fuzz_replay CORPUS                 CORPUS/NAME/* of every target, and its seeds
//     fuzz_replay CORPUS mask gguf       of these targets
//     fuzz_replay --write-seeds FOLDER   the seeds as files, for fuzzers: FOLDER/NAME/*
//     fuzz_replay --write-models FOLDER  tiny models, rows and tuned values: for mutate.py
//
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "fuzz/seeds.hpp"
#include "io/temporary_folder.hpp"

// Each target is a program of its own for a fuzzer: here it goes by its own name.
#define LLVMFuzzerTestOneInput checkpoint_one
#include "fuzz/checkpoint_fuzz.cpp"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput container_one
#include "fuzz/container_fuzz.cpp"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput gguf_one
#include "fuzz/gguf_fuzz.cpp"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput hf_config_one
#include "fuzz/hf_config_fuzz.cpp"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput hf_tokenizer_one
#include "fuzz/hf_tokenizer_fuzz.cpp"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput mask_one
#include "fuzz/mask_fuzz.cpp"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput policies_one
#include "fuzz/policies_fuzz.cpp"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput rows_one
#include "fuzz/rows_fuzz.cpp"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput safetensors_one
#include "fuzz/safetensors_fuzz.cpp"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput text_one
#include "fuzz/text_fuzz.cpp"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput tokenizer_one
#include "fuzz/tokenizer_fuzz.cpp"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput trajectory_one
#include "fuzz/trajectory_fuzz.cpp"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput values_one
#include "fuzz/values_fuzz.cpp"
#undef LLVMFuzzerTestOneInput

namespace {

struct target {
  const char* name;
  int (*run)(const std::uint8_t*, std::size_t);
};
constexpr target targets[] = {
    {"checkpoint", checkpoint_one},
    {"container", container_one},
    {"gguf", gguf_one},
    {"hf_config", hf_config_one},
    {"hf_tokenizer", hf_tokenizer_one},
    {"mask", mask_one},
    {"policies", policies_one},
    {"rows", rows_one},
    {"safetensors", safetensors_one},
    {"text", text_one},
    {"tokenizer", tokenizer_one},
    {"trajectory", trajectory_one},
    {"values", values_one},
};

int run_all(const target& t, const std::string& folder) {
  std::vector<std::string> files;
  if (std::filesystem::is_directory(folder)) {
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      files.push_back(entry.path().string());
    }
  }
  std::sort(files.begin(), files.end());
  for (const std::string& path : files) {
    std::printf("%s: %s\n", t.name, path.c_str());
    std::fflush(stdout);  // it is the last line where a target ends the program
    const std::string bytes = zoq::test::contents(path);
    t.run(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  }
  return static_cast<int>(files.size());
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> given(argv + 1, argv + argc);
  if (given.size() == 2 && given[0] == "--write-seeds") {
    zoq::fuzz::write_seeds(given[1]);
    return 0;
  }
  if (given.size() == 2 && given[0] == "--write-models") {
    zoq::fuzz::write_models(given[1]);
    return 0;
  }
  if (given.empty()) {
    std::fprintf(stderr,
                 "usage: fuzz_replay CORPUS [NAME...], --write-seeds or --write-models FOLDER\n");
    return 2;
  }
  const zoq::test::temporary_folder seeds;
  zoq::fuzz::write_seeds(seeds.path());
  for (const target& t : targets) {
    if (given.size() == 1 || std::find(given.begin() + 1, given.end(), t.name) != given.end()) {
      if (run_all(t, seeds / t.name) == 0) {
        std::fprintf(stderr, "%s has no seeds\n", t.name);
        return 1;
      }
      run_all(t, given[0] + "/" + t.name);
    }
  }
  return 0;
}
