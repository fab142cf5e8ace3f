// Writes a model of a Llama's shape with random weights, to measure memory and time at sizes that
// are not at hand as real models. It knows nothing, but its activations and logits are of natural
// size, and every command of zoq runs on it.
//
//     synthetic_model --shape 7b --format q4_0 --out 7b.gguf [--layers 4] [--seed 1]
//
// Shapes: those of model/llama_shapes.hpp, "1b" (TinyLlama) and "tiny" (for trials of a program).
// Weights are normal with standard deviation 1.25 / sqrt(columns) (0.02 for 4096 columns), so that a
// product has the size of its normalised input; norms are 1. For each width a panel of 509 rows is
// drawn and encoded once; a row of a matrix is one of them, turned by some blocks, both chosen by
// (seed, tensor, row). So a file takes little longer than its bytes take to write, and memory is that
// of the panels. The same options give the same file, with the same C library. The tokenizer has a
// token for each byte and fillers that no text contains.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <string>
#include <system_error>
#include <vector>
#include <zoq/io/byte_alphabet.hpp>
#include <zoq/io/gguf_writer.hpp>
#include <zoq/model/llama.hpp>
#include <zoq/model/llama_shapes.hpp>
#include <zoq/quant/requantize.hpp>
#include <zoq/random/gaussian.hpp>
#include <zoq/random/philox.hpp>

namespace {

using zoq::index_t;

// name, model, tied; layers, C, H, K, F, V, context, rope base
const zoq::llama_shape more_shapes[] = {
    zoq::detail::shape_of("1b", "TinyLlama-1.1B", false, 22, 2048, 32, 4, 5632, 32000, 2048, 1e4),
    zoq::detail::shape_of("tiny", "none", false, 2, 256, 4, 2, 768, 512, 512, 1e4)};

zoq::llama_shape shape_named(const std::string& name) {
  for (const zoq::llama_shape& s : more_shapes) {
    if (s.name == name) {
      return s;
    }
  }
  try {
    return zoq::llama_shape_named(name);
  } catch (const zoq::error& e) {
    zoq::fail(e.what(), ", 1b, tiny");
  }
}

/// Throws when the file system of `path` has less room than a file of `bytes` takes.
void require_room(const std::string& path, index_t bytes) {
  namespace fs = std::filesystem;
  std::error_code unknown;
  const fs::path folder = fs::path(path).parent_path();
  const auto room = fs::space(folder.empty() ? "." : folder, unknown);
  zoq::require(unknown || room.available >= static_cast<std::uintmax_t>(bytes), path, ": takes ",
               bytes / 1000000, " MB, its disk has ", room.available / 1000000, " MB free");
}

zoq::format_info format_named(const std::string& name) {
  const auto found = zoq::find_format(name);
  zoq::require(found && found->gguf_type != zoq::no_gguf_type, "unknown format \"", name, "\"");
  return *found;
}

/// Encoded rows of one width and format.
struct panel {
  static constexpr index_t rows = 509;  // prime
  zoq::format_info format;
  index_t columns;
  std::vector<std::byte> bytes;  // [rows, columns]

  panel(const zoq::format_info& f, index_t c, zoq::seed_t seed) : format(f), columns(c) {
    zoq::require(c % f.block_size == 0, "rows of ", c, " columns are no multiple of ", f.name,
                 "'s block of ", f.block_size);
    bytes.resize(static_cast<std::size_t>(f.bytes(rows, c)));
    const auto field = zoq::gaussian::at(seed, {});
    const auto deviation = static_cast<float>(1.25 / std::sqrt(static_cast<double>(c)));
    std::vector<float> x(static_cast<std::size_t>((c + 3) / 4 * 4));
    index_t block = 0;
    for (index_t r = 0; r < rows; ++r) {
      for (std::size_t i = 0; i < x.size(); i += 4) {
        const zoq::float4v z = field.four(block++);
        for (std::size_t j = 0; j < 4; ++j) {
          x[i + j] = deviation * z.at[j];
        }
      }
      zoq::encode_row(f, x.data(), c, bytes.data() + r * f.bytes(1, c));
    }
  }

  /// One of the rows, chosen by two random words and turned: format.bytes(1, columns) bytes.
  void copy_row(const zoq::words4& word, std::byte* out) const {
    const auto size = static_cast<std::size_t>(format.bytes(1, columns));
    const auto blocks = static_cast<std::size_t>(columns / format.block_size);
    const std::byte* row = bytes.data() + word.at[0] % rows * size;
    const std::size_t turn = word.at[1] % blocks * (size / blocks);
    std::memcpy(out, row + turn, size - turn);
    std::memcpy(out + (size - turn), row, turn);
  }
};

class model_file {
 public:
  explicit model_file(zoq::seed_t seed) : seed_(seed) {}

  zoq::gguf_writer out;

  void add_matrix(const std::string& name, const zoq::format_info& format, index_t rows,
                  index_t columns) {
    const auto key = std::make_pair(std::string(format.name), columns);
    const panel& p = panels_.try_emplace(key, format, columns, seed_).first->second;
    const auto number = static_cast<std::uint32_t>(++matrices_);
    const zoq::seed_t seed = seed_;
    bytes_ += format.bytes(rows, columns);
    out.add_tensor(name, {columns, rows}, format.gguf_type,
                   [&p, rows, number, seed](const zoq::gguf_writer::sink& put) {
                     const index_t stride = p.format.bytes(1, p.columns);
                     const index_t some = std::clamp<index_t>((index_t{1} << 20) / stride, 1, rows);
                     std::vector<std::byte> piece(static_cast<std::size_t>(some * stride));
                     for (index_t o = 0; o < rows; o += some) {
                       const index_t count = std::min(some, rows - o);
                       for (index_t r = 0; r < count; ++r) {
                         p.copy_row(zoq::philox(seed, static_cast<std::uint64_t>(o + r), number),
                                    piece.data() + r * stride);
                       }
                       put(std::span(piece).first(static_cast<std::size_t>(count * stride)));
                     }
                   });
  }
  void add_norm(const std::string& name, index_t columns) {
    bytes_ += columns * static_cast<index_t>(sizeof(float));
    out.add_tensor(name, {columns}, zoq::f32_format::gguf_type,
                   [columns](const zoq::gguf_writer::sink& put) {
                     const std::vector<float> ones(static_cast<std::size_t>(columns), 1.0f);
                     put(std::as_bytes(std::span(ones)));
                   });
  }
  /// Bytes of all tensors.
  [[nodiscard]] index_t byte_count() const { return bytes_; }

 private:
  zoq::seed_t seed_;
  int matrices_ = 0;
  index_t bytes_ = 0;
  std::map<std::pair<std::string, index_t>, panel> panels_;
};

void set_metadata(zoq::gguf_writer& out, const zoq::llama_config& c, const std::string& name,
                  const zoq::format_info& format) {
  const auto size = [](index_t n) { return static_cast<std::uint32_t>(n); };
  out.set("general.architecture", "llama");
  out.set("general.name", "synthetic " + name);
  if (format.gguf_file_type) {
    out.set("general.file_type", *format.gguf_file_type);
  }
  out.set("general.quantization_version", std::uint32_t{2});
  out.set("llama.block_count", size(c.layers));
  out.set("llama.context_length", size(c.context));
  out.set("llama.embedding_length", size(c.hidden));
  out.set("llama.feed_forward_length", size(c.feed_forward));
  out.set("llama.attention.head_count", size(c.heads));
  out.set("llama.attention.head_count_kv", size(c.kv_heads));
  out.set("llama.attention.layer_norm_rms_epsilon", c.norm_epsilon);
  out.set("llama.rope.dimension_count", size(c.head_size));
  out.set("llama.rope.freq_base", static_cast<float>(c.rope_base));
  out.set("llama.vocab_size", size(c.vocabulary));
}

void set_tokenizer(zoq::gguf_writer& out, index_t vocabulary) {
  std::vector<std::string> tokens;
  std::vector<std::int32_t> types;  // 1: normal, 3: control
  for (index_t t = 0; t < vocabulary; ++t) {
    const bool byte = t < 256;
    tokens.push_back(byte ? zoq::byte_letter(static_cast<unsigned char>(t))
                          : "<filler " + std::to_string(t) + ">");
    types.push_back(byte ? 1 : 3);
  }
  out.set("tokenizer.ggml.model", "gpt2");
  out.set("tokenizer.ggml.pre", "smollm");
  out.set("tokenizer.ggml.tokens", tokens);
  out.set("tokenizer.ggml.token_type", types);
  out.set("tokenizer.ggml.merges", std::vector<std::string>{});
}

void write_model(const std::map<std::string, std::string>& options) {
  const zoq::llama_shape shape = shape_named(options.at("--shape"));
  zoq::llama_config c = shape.config;
  if (!options.at("--layers").empty()) {
    c.layers = std::atoll(options.at("--layers").c_str());
  }
  zoq::require(c.layers > 0, "--layers: wanted a positive number");
  const auto format_of = [&](const char* key) {
    return format_named(options.at(options.at(key).empty() ? "--format" : key));
  };
  const zoq::format_info linear = format_of("--format");
  const std::string& path = options.at("--out");

  model_file file(static_cast<zoq::seed_t>(std::atoll(options.at("--seed").c_str())));
  set_metadata(file.out, c, options.at("--shape"), linear);
  set_tokenizer(file.out, c.vocabulary);
  const index_t q = c.heads * c.head_size, kv = c.kv_heads * c.head_size;
  file.add_matrix("token_embd.weight", format_of("--embedding-format"), c.vocabulary, c.hidden);
  for (index_t l = 0; l < c.layers; ++l) {
    const std::string block = "blk." + std::to_string(l) + ".";
    file.add_norm(block + "attn_norm.weight", c.hidden);
    file.add_matrix(block + "attn_q.weight", linear, q, c.hidden);
    file.add_matrix(block + "attn_k.weight", linear, kv, c.hidden);
    file.add_matrix(block + "attn_v.weight", linear, kv, c.hidden);
    file.add_matrix(block + "attn_output.weight", linear, c.hidden, q);
    file.add_norm(block + "ffn_norm.weight", c.hidden);
    file.add_matrix(block + "ffn_gate.weight", linear, c.feed_forward, c.hidden);
    file.add_matrix(block + "ffn_up.weight", linear, c.feed_forward, c.hidden);
    file.add_matrix(block + "ffn_down.weight", linear, c.hidden, c.feed_forward);
  }
  file.add_norm("output_norm.weight", c.hidden);
  if (!shape.tied) {
    file.add_matrix("output.weight", format_of("--head-format"), c.vocabulary, c.hidden);
  }
  require_room(path, file.byte_count());
  file.out.write(path);

  const zoq::llama model = zoq::llama::open(path);
  const index_t weights = zoq::linear_weights(model.tensors());
  zoq::require(weights == c.linear_weights(), path, ": ", weights, " linear weights, wanted ",
               c.linear_weights());
  std::printf("%s: %lld linear weights in %lld layers, %.3f GB of tensors\n", path.c_str(),
              static_cast<long long>(weights), static_cast<long long>(c.layers),
              static_cast<double>(model.byte_count()) / 1e9);
}

}  // namespace

int main(int argc, char** argv) {
  std::map<std::string, std::string> options = {
      {"--shape", "7b"},     {"--format", "q4_0"}, {"--embedding-format", ""},
      {"--head-format", ""}, {"--layers", ""},     {"--seed", "1"},
      {"--out", ""}};
  bool known = argc % 2 == 1;
  for (int i = 1; i + 1 < argc; i += 2) {
    known = known && options.contains(argv[i]);
    options[argv[i]] = argv[i + 1];
  }
  if (!known || options["--out"].empty()) {
    std::fprintf(stderr,
                 "usage: synthetic_model --out FILE [--shape 7b|13b|1b|tiny|...] [--format NAME] "
                 "[--embedding-format NAME] [--head-format NAME] [--layers N] [--seed N]\n");
    return 2;
  }
  try {
    write_model(options);
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "synthetic_model: %s\n", e.what());
    return 1;
  }
}
