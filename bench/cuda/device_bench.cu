// What a device makes of zoq, beside what it can do at most: decode, products, generation, a two-sided
// sparse step by parts, memory. Prints a table in Markdown.
//
//     device_bench model.gguf [rows tokens [figures.json]]     // 16 rows of 128 tokens by default
//
// Every figure is a median of five after a first round. The peaks are this device's own, measured here
// on normal noise (zeros take less power, so a device multiplies them faster). Products count 2
// operations for each weight and row that meet: attention and the overlay are not counted, nor what the
// last layer and the head leave out. What is read from memory is read from all layers in turn, or a
// cache would hold it. Results are checked before they are timed. bench/cuda/run.sh makes models, runs
// this and sets PyTorch beside it; `figures.json` is what it hands on.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "zoq/core/error.hpp"
#include "zoq/estimate/spsa.hpp"
#include "zoq/exec/cuda.cuh"
#include "zoq/model/llama.hpp"
#include "zoq/model/llama_forward.hpp"
#include "zoq/objective/option_likelihood.hpp"
#include "zoq/optim/sgd.hpp"
#include "zoq/random/gaussian.hpp"
#include "zoq/random/philox.hpp"
#include "zoq/train/trainer.hpp"
#include "zoq/view/sparse.hpp"

// Not unnamed: nvcc takes members that only a concept asks for as unused there.
namespace device_bench {

using zoq::index_t;
using zoq::detail::require_cuda;

inline void wait() { require_cuda(cudaDeviceSynchronize(), "cudaDeviceSynchronize"); }

inline double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// A view that notes the seconds of the perturbation, on request with the work on the device done.
struct timed_view {
  static constexpr std::string_view name = "timed";
  zoq::laid_out_view<zoq::cuda, zoq::sparse_layout<zoq::cuda>>& of;
  bool waits = false;
  double seconds = 0;

  [[nodiscard]] zoq::value_order order() const { return of.order(); }
  [[nodiscard]] zoq::tensor_view<float, 1> values() { return of.values(); }
  void move_to(const zoq::cuda& exec, const zoq::any_direction& direction,
               std::span<const zoq::query> asked) {
    const double start = now();
    of.move_to(exec, direction, asked);
    if (waits) {
      wait();
    }
    seconds += now() - start;
  }
  void move_to_values(const zoq::cuda& exec) { of.move_to_values(exec); }
  [[nodiscard]] zoq::branch_parts branches() const { return of.branches(); }
  [[nodiscard]] index_t byte_count() const { return of.byte_count(); }
};
static_assert(zoq::parameter_view<timed_view, zoq::cuda>);

/// An objective that notes the seconds of packing rows and of making losses of scores.
struct timed_objective {
  static constexpr std::string_view name = "timed";
  double* seconds;
  zoq::option_likelihood of = {};

  void pack(const zoq::example& row, zoq::packing& batch) const {
    const double start = now();
    of.pack(row, batch);
    *seconds += now() - start;
  }
  [[nodiscard]] double loss(const zoq::example& row, std::span<const double> scores) const {
    const double start = now();
    const double out = of.loss(row, scores);
    *seconds += now() - start;
    return out;
  }
};
static_assert(zoq::objective<timed_objective>);

}  // namespace device_bench

namespace {

using namespace device_bench;

constexpr int rounds = 5;

double median(std::vector<double> x) {
  std::sort(x.begin(), x.end());
  return x[x.size() / 2];
}

/// Seconds of f(), all of its work on the device done. The first round, which grows workspaces, is
/// not counted.
template <class F>
double seconds(const F& f) {
  std::vector<double> times;
  for (int round = 0; round <= rounds; ++round) {
    wait();
    const double start = now();
    f();
    wait();
    times.push_back(now() - start);
  }
  times.erase(times.begin());
  return median(times);
}

std::size_t bytes_in_use() {
  std::size_t unused = 0, all = 0;
  require_cuda(cudaMemGetInfo(&unused, &all), "cudaMemGetInfo");
  return all - unused;
}

void head(const std::string& what) {
  std::printf("| %-46s | %-20s | %-14s |\n|---|---|---|\n", what.c_str(), "", "");
}
void line(const std::string& what, double value, const char* unit, const std::string& note = "") {
  std::printf("| %-46s | %11.2f %-8s | %-14s |\n", what.c_str(), value, unit, note.c_str());
  std::fflush(stdout);
}
std::string share(double part, const char* of) {
  char out[64];
  std::snprintf(out, sizeof out, "%.1f %% of %s", 100 * part, of);
  return out;
}

std::vector<zoq::token_t> some_tokens(index_t n, zoq::seed_t seed, index_t vocabulary) {
  std::vector<zoq::token_t> out;
  for (index_t i = 0; i < n; ++i) {
    const auto word = zoq::philox(seed, static_cast<std::uint64_t>(i)).at[0];
    out.push_back(static_cast<zoq::token_t>(word % static_cast<std::uint32_t>(vocabulary)));
  }
  return out;
}

/// Rows of two options, one token each: `tokens` rows of activations for each.
std::vector<zoq::example> two_option_rows(index_t rows, index_t tokens, index_t vocabulary) {
  std::vector<zoq::example> out;
  for (index_t r = 0; r < rows; ++r) {
    const auto seed = static_cast<zoq::seed_t>(r + 1);
    out.push_back({some_tokens(tokens, seed, vocabulary), {{1}, {2}}, r % 2});
  }
  return out;
}

/// Every thousandth weight of the linear layers.
zoq::mask every_thousandth(const zoq::llama& model) {
  zoq::mask out;
  for (const zoq::model_tensor& t : model.tensors()) {
    if (t.role == zoq::tensor_role::linear) {
      zoq::tensor_mask m{t.name, t.weight.rows(), t.weight.columns(), {}};
      for (index_t i = 500; i < m.rows * m.columns; i += 1000) {
        m.index.push_back(static_cast<std::int32_t>(i));
      }
      out.tensors.push_back(std::move(m));
    }
  }
  return out;
}

/// Four values of normal noise.
template <class T, zoq::field Field>
struct noise_block {
  Field z;
  T* out;
  ZOQ_HD void operator()(index_t block) const {
    const zoq::float4v noise = z.four(block);
    for (index_t j = 0; j < 4; ++j) {
      out[4 * block + j] = zoq::detail::rounded_to<T>(noise.at[j]);
    }
  }
};

/// [n] values of normal noise, n a multiple of 4.
template <class T>
zoq::buffer<T, zoq::cuda_space> noise(const zoq::cuda& exec, index_t n, zoq::seed_t seed) {
  auto out = exec.allocate<T>(n);
  const auto field = zoq::gaussian::at(seed, {});
  exec.for_each(n / 4, noise_block<T, std::decay_t<decltype(field)>>{field, out.data()});
  return out;
}

struct peaks {
  double flops = 0;      // of a large bf16 product, a second
  double bandwidth = 0;  // bytes a second
};

peaks measured_peaks(const zoq::cuda& exec) {
  peaks out;
  {
    const index_t n = 8192;
    const auto a = noise<zoq::bf16>(exec, n * n, 1), b = noise<zoq::bf16>(exec, n * n, 2);
    const auto y = exec.allocate<float>(n * n);
    const zoq::matrix_product<zoq::bf16> product{
        {a.data(), n, 1}, {b.data(), n, 1}, y.data(), n, n, n, n};
    const int times = 10;
    out.flops = times * 2.0 * std::pow(static_cast<double>(n), 3) / seconds([&] {
                  for (int i = 0; i < times; ++i) {
                    exec.back().multiply(product);
                  }
                });
  }
  const index_t bytes = index_t{1} << 29;
  const auto from = exec.allocate<std::byte>(bytes), to = exec.allocate<std::byte>(bytes);
  out.bandwidth =
      2 * static_cast<double>(bytes) / seconds([&] {
        require_cuda(cudaMemcpyAsync(to.data(), from.data(), static_cast<std::size_t>(bytes),
                                     cudaMemcpyDeviceToDevice, exec.back().stream()),
                     "cudaMemcpyAsync");
      });
  line("bf16 product of 8192 x 8192, cuBLAS", out.flops * 1e-12, "TFLOP/s", "the peak");
  line("copy of 512 MiB, read and written", out.bandwidth * 1e-9, "GB/s", "the peak");
  return out;
}

/// One kind of matrix of all layers.
void measure_matrix(const zoq::cuda& exec, const zoq::llama& model, const peaks& peak,
                    index_t zoq::llama::layer_numbers::*kind, const std::string& name,
                    index_t all_rows, bool whole) {
  std::vector<zoq::model_tensor> tensors;
  for (index_t l = 0; l < model.config().layers; ++l) {
    const zoq::llama::layer_numbers numbers = zoq::llama_layer(l);
    tensors.push_back(model.tensors()[static_cast<std::size_t>(numbers.*kind)]);
  }
  const zoq::resident_weights<zoq::cuda> weights(exec, tensors);
  const index_t count = model.config().layers;
  const index_t outputs = weights[0].rows(), columns = weights[0].columns();
  const double packed = static_cast<double>(weights[0].byte_count());
  const auto x = noise<float>(exec, all_rows * columns, 3);
  const auto y = exec.allocate<float>(all_rows * outputs);
  const auto multiply = [&](index_t rows) {
    for (index_t l = 0; l < count; ++l) {
      exec.linear(x.view(rows, columns), weights[l], y.view(rows, outputs));
    }
  };

  // Few rows and many take different ways; the last layer's products stay in y.
  const index_t few = std::min<index_t>(all_rows, 16);
  std::vector<float> one(static_cast<std::size_t>(few * outputs)), other(one.size());
  multiply(few);
  exec.download(y.data(), few * outputs, one.data());
  multiply(all_rows);
  exec.download(y.data(), few * outputs, other.data());
  double apart = 0, largest = 0;
  for (std::size_t i = 0; i < one.size(); ++i) {
    apart = std::fmax(apart, std::fabs(static_cast<double>(one[i] - other[i])));
    largest = std::fmax(largest, std::fabs(static_cast<double>(one[i])));
  }
  zoq::require(largest > 0 && apart <= 0.02 * largest, "linear, ", name, ": ", few,
               " rows by themselves differ by ", apart, " from the same among ", all_rows,
               ", the largest output is ", largest);

  if (whole) {
    const auto decoded = exec.allocate<zoq::bf16>(outputs * columns);
    const double time = seconds([&] {
      for (index_t l = 0; l < count; ++l) {
        weights[l].visit([&]<class S>(const zoq::packed_view<S>& w) {
          const zoq::detail::decode_slice<S, zoq::bf16> task{
              w, 0, outputs, 0, w.blocks_per_row(), decoded.data()};
          exec.for_each(task.items(), task);
        });
      }
    });
    const double moved = packed + 2.0 * static_cast<double>(outputs * columns);
    const double rate = moved * static_cast<double>(count) / time;
    line("decode, " + name + ", read and written", rate * 1e-9, "GB/s",
         share(rate / peak.bandwidth, "peak"));
    for (const index_t rows : {1, 4, 16}) {
      if (rows <= all_rows) {
        const double read = packed * static_cast<double>(count) / seconds([&] { multiply(rows); });
        line(zoq::text("linear, ", name, ", ", rows, " rows, packed bytes"), read * 1e-9, "GB/s",
             share(read / peak.bandwidth, "peak"));
      }
    }
  }
  const double flops = 2.0 * static_cast<double>(count * all_rows) *
                       static_cast<double>(columns * outputs) /
                       seconds([&] { multiply(all_rows); });
  line(zoq::text("linear, ", name, ", ", all_rows, " rows"), flops * 1e-12, "TFLOP/s",
       share(flops / peak.flops, "peak"));
}

/// What the forward pass alone does: agreement of bf16 with f32, generation.
void measure_pass(const zoq::cuda& exec, const zoq::llama& model, const peaks& peak) {
  const zoq::resident_weights<zoq::cuda> weights(exec, model.tensors());
  zoq::llama_forward pass(exec, model, weights);
  const auto text = some_tokens(32, 5, model.config().vocabulary);
  {
    zoq::packing batch;
    batch.add(text);
    for (index_t i = 0; i + 1 < 32; ++i) {
      batch.read(0, i, text[static_cast<std::size_t>(i + 1)]);
    }
    const zoq::cuda exact;
    zoq::llama_forward reference(exact, model, weights);
    std::vector<double> rounded(batch.reads.size()), wanted(rounded.size());
    pass.score(batch, {}, rounded);
    reference.score(batch, {}, wanted);
    double apart = 0;
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      const double one = std::fabs(rounded[i] - wanted[i]);
      apart = one <= apart ? apart : one;  // NaN stays
    }
    // Two roundings to 8 bits in each product, on weights without structure.
    zoq::require(apart <= 0.5, "log p in bf16 is ", apart, " from f32");
    line("log p in bf16 against f32, largest difference", apart, "");
  }
  std::vector<float> logits;
  const int length = 33;
  const double time = seconds([&] {
    pass.start_sequence(length);
    for (int i = 0; i < length; ++i) {
      pass.extend(std::vector<zoq::token_t>{text[static_cast<std::size_t>(i) % text.size()]}, {},
                  logits);
    }
  });
  // Of an embedding that is not the head too, one row is read.
  const index_t unread =
      model.tied() ? 0 : model.tensors()[zoq::llama::embedding()].weight.byte_count();
  const double read = static_cast<double>(model.byte_count() - unread);
  line("generation, tokens", length / time, "/s",
       share(length * read / time / peak.bandwidth, "peak"));
}

/// Operations of the products of one forward pass over `rows` rows of activations, answers read at
/// `read` of them: the last layer goes on with those alone after its keys and values.
double operations(const zoq::llama_config& c, index_t rows, index_t read) {
  const index_t layer = c.linear_weights() / c.layers;
  const index_t keys = 2 * c.hidden * c.kv_heads * c.head_size;
  const double all = static_cast<double>((c.layers - 1) * layer + keys) * static_cast<double>(rows);
  const double last = static_cast<double>(layer - keys + c.vocabulary * c.hidden);
  return 2 * (all + last * static_cast<double>(read));
}

struct step_figures {
  double seconds = 0;
  double memory = 0;  // bytes beside the context
};

/// A two-sided sparse step, as `zoq::trainer` takes it: as it is, then by parts.
step_figures measure_step(const zoq::cuda& exec, const zoq::llama& model, const peaks& peak,
                          index_t rows, index_t tokens, std::size_t context) {
  const std::vector<zoq::example> data = two_option_rows(rows, tokens, model.config().vocabulary);
  auto view = zoq::sparse_view(exec, model.tensors(), every_thousandth(model));
  timed_view timed{view};
  double losses = 0;
  zoq::trainer run(exec, model, timed, timed_objective{&losses}, zoq::spsa{.epsilon = 5e-3},
                   zoq::sgd{.rate = 1e-5f});
  run.start(data, {.steps = 1 << 20, .batch_size = rows, .stacked_rows = 2 * rows * tokens});
  for (int i = 0; i < 2; ++i) {  // workspaces
    const zoq::step_result first = run.advance();
    for (const zoq::answer& a : first.answers) {
      // Two options of a model that knows nothing: about log 2.
      zoq::require(a.loss > 0.01 && a.loss < 20, "step ", i, ": a loss is ", a.loss);
    }
  }
  step_figures out;
  out.memory = static_cast<double>(bytes_in_use() - context);

  std::vector<double> all;
  for (int i = 0; i < rounds; ++i) {
    const double start = now();
    run.advance();  // its last sum waits for all
    all.push_back(now() - start);
  }
  out.seconds = median(all);

  timed.waits = true;
  all.clear();
  std::vector<double> perturb, forward, loss, update;
  for (int i = 0; i < rounds; ++i) {
    timed.seconds = losses = 0;
    const double before = run.cost().seconds, start = now();
    run.advance();
    all.push_back(now() - start);
    perturb.push_back(timed.seconds);
    forward.push_back(run.cost().seconds - before);
    loss.push_back(losses);
    update.push_back(all.back() - perturb.back() - forward.back() - losses);
  }
  const double work = operations(model.config(), 2 * rows * tokens, 2 * rows);
  const std::string size = zoq::text(rows, " x ", tokens, " tokens");
  line("two-sided sparse step, " + size, out.seconds * 1e3, "ms",
       share(work / out.seconds / peak.flops, "peak"));
  line("  tokens of data", static_cast<double>(rows * tokens) / out.seconds, "/s");
  line("  tokens forwarded", static_cast<double>(2 * rows * tokens) / out.seconds, "/s");
  const double step = median(all);
  const auto part = [&](const char* what, double time) {
    line(what, time * 1e3, "ms", share(time / step, "step"));
  };
  line("the same, waiting after its parts", step * 1e3, "ms");
  part("  perturb: values of both branches", median(perturb));
  part("  forward: log p of all reads, on the host", median(forward));
  part("  losses: packing rows, losses of scores", median(loss));
  part("  update: estimate, values, check", median(update));
  std::vector<double> outside;
  for (std::size_t i = 0; i < all.size(); ++i) {
    outside.push_back(all[i] - forward[i]);
  }
  part("  time outside the forward", median(outside));
  line("memory beside the context, after steps", out.memory / (1 << 20), "MiB",
       share(static_cast<double>(model.byte_count()) / out.memory, "it weights"));
  return out;
}

/// For bench/cuda/torch_rows.py.
void write_figures(const std::string& path, const zoq::llama_config& c, index_t rows,
                   index_t tokens, const step_figures& step) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "w"),
                                                             &std::fclose);
  zoq::require(file != nullptr, path, ": cannot be written");
  const std::string text =
      zoq::text("{\"layers\": ", c.layers, ", \"hidden\": ", c.hidden, ", \"heads\": ", c.heads,
                ", \"kv_heads\": ", c.kv_heads, ", \"feed_forward\": ", c.feed_forward,
                ", \"vocabulary\": ", c.vocabulary, ", \"context\": ", c.context,
                ", \"rows\": ", rows, ", \"tokens\": ", tokens,
                ", \"step_seconds\": ", step.seconds, ", \"memory_bytes\": ", step.memory, "}\n");
  zoq::require(std::fputs(text.c_str(), file.get()) >= 0, path, ": cannot be written");
}

void run(const std::string& path, index_t rows, index_t tokens, const std::string& figures) {
  require_cuda(cudaFree(nullptr), "cudaFree");  // makes the context
  const std::size_t context = bytes_in_use();
  const zoq::llama model = zoq::llama::open(path);
  zoq::require(tokens <= model.config().context, path, ": rows of ", tokens,
               " tokens, its context is ", model.config().context);
  cudaDeviceProp device;
  require_cuda(cudaGetDeviceProperties(&device, 0), "cudaGetDeviceProperties");
  head(path.substr(path.find_last_of('/') + 1) + ", " + device.name);

  const zoq::cuda exec({.products = zoq::compute::bf16});
  const peaks peak = measured_peaks(exec);
  using numbers = zoq::llama::layer_numbers;
  const index_t all = 2 * rows * tokens;
  measure_matrix(exec, model, peak, &numbers::up, "ffn_up", all, true);
  measure_matrix(exec, model, peak, &numbers::down, "ffn_down", all, false);
  measure_matrix(exec, model, peak, &numbers::query, "attn_q", all, false);
  measure_pass(exec, model, peak);
  const step_figures step = measure_step(exec, model, peak, rows, tokens, context);
  if (!figures.empty()) {
    write_figures(figures, model.config(), rows, tokens, step);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const index_t rows = argc > 3 ? std::atoll(argv[2]) : 16;
  const index_t tokens = argc > 3 ? std::atoll(argv[3]) : 128;
  if (argc < 2 || argc == 3 || argc > 5 || rows < 1 || tokens < 1) {
    std::fputs("usage: device_bench MODEL.gguf [ROWS TOKENS [FIGURES.json]]\n", stderr);
    return 2;
  }
  if (!zoq::cuda::available()) {
    std::fputs("device_bench: no CUDA device: nothing to measure\n", stderr);
    return 77;
  }
  try {
    run(argv[1], rows, tokens, argc > 4 ? argv[4] : "");
  } catch (const std::exception& e) {
    std::fprintf(stderr, "device_bench: %s\n", e.what());
    return 1;
  }
}
