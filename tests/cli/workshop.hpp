// What a small run of the mini-trainer needs: a tiny model with a byte-level tokenizer, rows of a task,
// and some text.
//
//     const zoq::test::tuning_workshop w;
//     zoq::test::run(w.finetune("run", {"--steps", "3"}));       // cli/program.hpp
//     w.delta("run");                                            // bytes
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "io/temporary_folder.hpp"
#include "model/tiny_llama.hpp"

namespace zoq::test {

/// Writes model.gguf, rows/ and text.txt.
inline void furnish(const std::string& folder) {
  const std::string rows = folder + "/rows";
  tiny_llama({.config = small_config(), .format = "q4_1"})
      .write_with_tokenizer(folder + "/model.gguf");
  std::filesystem::create_directory(rows);
  for (const std::string name : {"train", "valid", "test"}) {
    std::string lines;
    for (int i = 0; i < 24; ++i) {
      const bool good = (i * 7 + static_cast<int>(name.size())) % 3 == 0;
      lines += std::string(R"({"prompt": "row )") + std::to_string(i) + (good ? " fine" : " poor") +
               R"(", "choices": [" no", " yes"], "answer": )" + (good ? "1" : "0") + "}\n";
    }
    put(rows + "/" + name + ".jsonl", lines);
  }
  std::string words;
  for (int i = 0; i < 300; ++i) {
    words += "word" + std::to_string(i * i % 97) + " ";
  }
  put(folder + "/text.txt", words);
}

struct tuning_workshop {
  temporary_folder folder;
  std::string model = folder / "model.gguf";
  std::string rows = folder / "rows";
  std::string text = folder / "text.txt";

  tuning_workshop() { furnish(folder.path()); }

  [[nodiscard]] std::vector<std::string> finetune(const std::string& out,
                                                  const std::vector<std::string>& more = {}) const {
    std::vector<std::string> a = {"finetune",
                                  "--model",
                                  model,
                                  "--data",
                                  rows,
                                  "--mask",
                                  "fisher:" + text,
                                  "--density",
                                  "0.01",
                                  "--mask-samples",
                                  "4",
                                  "--mask-length",
                                  "16",
                                  "--epsilon",
                                  "1e-2",
                                  "--learning-rate",
                                  "1e-2",
                                  "--batch-size",
                                  "4",
                                  "--checkpoint-every",
                                  "5",
                                  "--out",
                                  folder / out};
    for (const std::string wanted : {"--steps", "--eval-every", "--threads"}) {
      if (std::find(more.begin(), more.end(), wanted) == more.end()) {
        a.insert(a.end(), {wanted, wanted == "--threads" ? "2" : wanted == "--steps" ? "12" : "6"});
      }
    }
    a.insert(a.end(), more.begin(), more.end());
    return a;
  }
  [[nodiscard]] std::string delta(const std::string& out) const {
    return contents((folder / out) + "/delta.safetensors");
  }
};

}  // namespace zoq::test
