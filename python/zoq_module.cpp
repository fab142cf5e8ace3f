// The Python module zoq._zoq: models, masks, tuning and evaluation, with numpy arrays in and out.
// What Python calls is in zoq/__init__.py, which also says what each thing is.
// SPDX-License-Identifier: Apache-2.0
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>
#include <zoq/core/settings.hpp>
#include <zoq/data/encode.hpp>
#include <zoq/data/windows.hpp>
#include <zoq/estimate/estimators.hpp>
#include <zoq/estimate/rounds.hpp>
#include <zoq/exec/cpu.hpp>
#include <zoq/io/mapped_file.hpp>
#include <zoq/io/mask_file.hpp>
#include <zoq/io/open_model_file.hpp>
#include <zoq/model/finite.hpp>
#include <zoq/model/llama.hpp>
#include <zoq/model/llama_forward.hpp>
#include <zoq/model/target.hpp>
#include <zoq/optim/optimizers.hpp>
#include <zoq/optim/schedule.hpp>
#include <zoq/random/directions.hpp>
#include <zoq/score/choose_places.hpp>
#include <zoq/score/task_samples.hpp>
#include <zoq/train/score_samples.hpp>
#include <zoq/train/trainer.hpp>
#include <zoq/view/values_file.hpp>

namespace nb = nanobind;
using namespace zoq;

namespace {

template <class T>
using array = nb::ndarray<nb::numpy, T>;
using indices_in = nb::ndarray<const std::int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
/// By tensor, in the order of the dictionary: a value's number, and so its part of a direction, is its place
/// in this order.
using places_in = std::vector<std::pair<std::string, indices_in>>;
using floats_in = nb::ndarray<const float, nb::c_contig, nb::device::cpu>;

/// A numpy array that owns a copy of the values.
template <class T>
array<T> numpy(std::vector<T> values, std::vector<std::size_t> shape) {
  auto* kept = new std::vector<T>(std::move(values));
  nb::capsule owner(kept, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
  return array<T>(kept->data(), shape.size(), shape.data(), owner);
}
template <class T>
array<T> numpy(const std::vector<T>& values) {
  return numpy(values, {values.size()});
}

/// Calls back into Python while the lock of the interpreter is not held; what that raises ends the work.
/// So does Ctrl-C.
template <class F>
bool in_python(const F& f) {
  const nb::gil_scoped_acquire held;
  if (PyErr_CheckSignals() != 0) {
    throw nb::python_error();
  }
  const nb::object said = f();
  return said.is_none() || nb::cast<bool>(said);
}

/// A model, its tokenizer, and what computes with it: one call at a time.
struct opened {
  model_file file;
  llama model;
  tokenizer words;
  cpu exec;
  special mode;
  std::string hash;
  std::recursive_mutex busy;  // a callback of a run may evaluate: a run has an executor of its own

  opened(const std::string& path, const std::string& products, int threads, bool special_tokens)
      : file(open_model_file(path)),
        model(llama::from(file)),
        words(file),
        exec({.threads = threads, .products = compute_named(products)}),
        mode(special_tokens ? special::parsed : special::plain),
        hash(model.hash()) {
    require(words.size() <= model.config().vocabulary, path, ": the tokenizer has ", words.size(),
            " tokens, the embedding ", model.config().vocabulary, " rows");
    try {
      require_finite(exec, model.tensors());
    } catch (const error& e) {
      fail(path, ": ", e.what());
    }
  }
};

/// Rows as tokens, and the loss that suits them.
struct task {
  std::vector<example> rows;
  any_objective objective;
};

/// `lines` has a row each, as JSON; or `path` names a file of such lines.
task task_of(const opened& m, const std::vector<std::string>& lines, const std::string& path,
             const std::string& objective) {
  text_rows rows;
  if (path.empty()) {
    for (const std::string& line : lines) {
      append_row(rows, line, text("row ", rows.size() + 1));
    }
    require(!rows.empty(), "there are no rows");
  } else {
    rows = read_rows(path);
  }
  const row_kind kind = kind_of(rows[0]);
  task out{encode_rows(m.words, rows, m.mode),
           objective.empty() ? default_objective(kind) : objective_named(objective, kind)};
  for (std::size_t r = 0; r < out.rows.size(); ++r) {
    require(context_of(out.rows[r]) <= m.model.config().context, path, path.empty() ? "" : ": ",
            "row ", r + 1, ": ", context_of(out.rows[r]),
            " tokens are more than the model's context of ", m.model.config().context);
  }
  return out;
}

mask mask_of(const opened& m, const places_in& places) {
  mask out;
  for (const auto& [name, index] : places) {
    const auto tensors = m.model.tensors();
    const auto t =
        std::find_if(tensors.begin(), tensors.end(),
                     [&, &wanted = name](const auto& one) { return one.name == wanted; });
    require(t != tensors.end(), "the model has no tensor \"", name, "\"");
    out.tensors.push_back(
        {name, t->weight.rows(), t->weight.columns(), {index.data(), index.data() + index.size()}});
  }
  out.model_hash = m.hash;
  out.validate();
  return out;
}

nb::dict places_of(const mask& m) {
  nb::dict out;
  for (const tensor_mask& t : m.tensors) {
    out[t.tensor.c_str()] = numpy(t.index);
  }
  return out;
}

nb::dict values_of(const tuned_values& t) {
  nb::dict out;
  for (const named_values& block : t.blocks) {
    out[block.name.c_str()] = numpy(block.values, {static_cast<std::size_t>(block.rows),
                                                   static_cast<std::size_t>(block.columns)});
  }
  return out;
}

nb::dict choose_mask(opened& m, const std::string& score, const std::string& settings,
                     const std::string& words, const std::vector<std::string>& lines,
                     const std::string& path, double density, const std::string& scope_name,
                     index_t samples, index_t length, seed_t seed, const nb::object& progress) {
  const score_choice how{score, settings, {density, scope_named(scope_name)}, seed, {}};
  require(density > 0 && density <= 1, "density is ", density, ", wanted above 0 and at most 1");
  const score_entry& entry = score_named(score);
  const bool rows = !lines.empty() || !path.empty();
  require(words.empty() || !rows, "text or rows, not both");
  require(words.empty() || entry.needs_text, "the score ", score, " takes no text");
  require(!rows || entry.needs_rows, "the score ", score, " takes no rows");
  mask made;
  {
    const nb::gil_scoped_release released;
    const std::lock_guard alone(m.busy);
    score_samples seen;
    const index_t wanted = samples > 0 ? samples : entry.needs_reverse ? 48 : 4;
    if (!words.empty()) {
      require(length >= 2 && length <= m.model.config().context, "windows of ", length,
              " tokens, wanted 2 to ", m.model.config().context);
      const std::vector<token_t> tokens = m.words.encode(words, m.mode);
      seen = samples_of_text(windows_at(
          tokens, choose_windows(static_cast<index_t>(tokens.size()), {wanted, length, seed}),
          length));
    } else if (rows) {
      task all = task_of(m, lines, path, "");
      const auto count = static_cast<index_t>(all.rows.size());
      seen.objective = std::move(all.objective);
      for (const index_t i : row_order(count, std::min(wanted, count), seed).batch(0)) {
        seen.rows.push_back(std::move(all.rows[static_cast<std::size_t>(i)]));
      }
    }
    // In float, whatever the model computes in: a mask must not depend on how the tuning computes.
    const cpu exec({.threads = m.exec.threads()});
    const auto tell = [&](index_t done, index_t all) {
      in_python([&] { return progress.is_none() ? nb::none() : progress(done, all); });
    };
    const auto best = [](const auto& scores, const top_k_options& options) {
      return top_k(scores, options);
    };
    seen.set_references(exec, m.model);
    const auto loss = [&](auto& pass, const branch_parts& added) { return seen.loss(pass, added); };
    const auto chosen = [&](const auto& of) {
      return choose_places(exec, m.model, how, of, loss, tell, best);
    };
    made = seen.rows.empty()      ? choose_places(m.model, how, best)
           : seen.windows.empty() ? chosen(task_samples{seen.rows, seen.objective})
                                  : chosen(text_samples{seen.windows});
  }
  return places_of(made);
}

/// What a run is, beside its data: Python's keywords, which have the defaults.
struct run_settings {
  std::string view, layers, exclude, estimator, optimizer, direction, schedule, objective, compute;
  std::optional<double> epsilon;  // none: measured
  index_t batch_size = 0;
  std::uint64_t steps = 0;
  std::string row_order;
  seed_t seed = 0;
  double clip = 0, clip_norm = 0;
};

struct run_result {
  tuned_values values;
  std::vector<double> losses;  // [steps]
  double epsilon = 0;
  train_cost cost;
};

run_result tune(opened& m, task rows, const run_settings& s, const mask& places,
                const tuned_values* start, const nb::object& progress) {
  using list = any_estimator::list;
  any_estimator estimator(policy_named<list>("estimator", s.estimator));
  const any_optimizer optimizer(policy_named<any_optimizer::list>("optimizer", s.optimizer));
  const cpu exec({.threads = m.exec.threads(),
                  .products = s.compute == "auto"
                                  ? compute_for_tuning(m.exec.kernels(), asks_for_pairs(estimator))
                                  : compute_named(s.compute)});
  run_result out;
  const any_view how = start == nullptr ? policy_named<any_view>("view", s.view) : start->how;
  require(places.tensors.empty() || traits_of(how).tunes_places, "the view ", name_of(how),
          " takes no mask");
  view_target target = target_of(m.model);
  target.selection = start == nullptr ? select(s.layers, s.exclude) : start->selection;
  target.places = &places;
  auto view = start == nullptr
                  ? laid_out_view<cpu, any_layout<cpu>>(exec, layout_of(exec, how, target))
                  : view_of(exec, target, *start);
  const index_t k = view.order().size;
  require(k > 0, "nothing is tuned: the mask has no places");
  trainer tuner(exec, m.model, view, rows.objective, estimator, optimizer);
  tuner.set_references(rows.rows);
  const train_options options{.steps = s.steps,
                              .batch_size = s.batch_size,
                              .stratified = s.row_order == "stratified",
                              .seed = s.seed,
                              .direction = policy_named<any_direction>("direction", s.direction),
                              .schedule = policy_named<any_schedule>("schedule", s.schedule),
                              .stacked_branches = branches_for(k),
                              .clip = s.clip,
                              .clip_norm = s.clip_norm};
  tuner.start(rows.rows, options);
  out.epsilon = s.epsilon.has_value()
                    ? *s.epsilon
                    : tuner
                          .measure_epsilon(epsilon_options_for(k),
                                           [] { in_python([] { return nb::none(); }); })
                          .epsilon;
  tuner.estimator_settings().visit([&](auto& one) { one.epsilon = out.epsilon; });
  tuner.start(rows.rows, options);
  bool more = true;
  while (more && !tuner.steps().done()) {
    const step_result at = tuner.advance();
    out.losses.push_back(at.loss);
    more = in_python(
        [&] { return progress.is_none() ? nb::none() : progress(at.step + 1, s.steps, at.loss); });
  }
  out.cost = tuner.cost();
  out.values = tuned_of(exec, how, target, view, m.hash);
  return out;
}

nb::tuple finetune(opened& m, const std::vector<std::string>& lines, const std::string& path,
                   const std::optional<places_in>& places, const tuned_values* start,
                   const run_settings& settings, const nb::object& progress) {
  require(!places.has_value() || start == nullptr,
          "a mask or a start, not both: a start has its own");
  require(settings.steps > 0 && settings.batch_size > 0, "steps and batch_size must be positive");
  require(settings.row_order == "stratified" || settings.row_order == "shuffled", "row_order is \"",
          settings.row_order, "\", wanted \"stratified\" or \"shuffled\"");
  const mask chosen = places.has_value() ? mask_of(m, *places) : mask{};
  run_result done;
  {
    const nb::gil_scoped_release released;
    const std::lock_guard alone(m.busy);
    done = tune(m, task_of(m, lines, path, settings.objective), settings,
                start == nullptr ? chosen : start->places, start, progress);
  }
  nb::dict about;
  about["losses"] = numpy(done.losses);
  about["epsilon"] = done.epsilon;
  about["evaluations"] = done.cost.evaluations;
  about["tokens"] = done.cost.tokens;
  about["seconds"] = done.cost.seconds;
  return nb::make_tuple(std::move(done.values), about);
}

nb::dict evaluate_rows(opened& m, const std::vector<std::string>& lines, const std::string& path,
                       const tuned_values& values, const std::string& objective,
                       index_t batch_size) {
  require(batch_size > 0, "batch_size must be positive");
  std::vector<double> losses;
  std::vector<std::int32_t> choices;
  index_t right = 0, tokens = 0;
  total sum;
  bool chooses = false;
  {
    const nb::gil_scoped_release released;
    const std::lock_guard alone(m.busy);
    task t = task_of(m, lines, path, objective);
    auto view = view_of(m.exec, target_of(m.model), values);
    auto pass = forward_of(m.exec, m.model);
    set_references(pass, t.objective, t.rows);
    chooses = t.objective.chooses();
    std::vector<const example*> rows;
    for (const example& row : t.rows) {
      rows.push_back(&row);
    }
    score_rows(
        pass, view.branches(), t.objective, rows, {.batch_rows = batch_size},
        [&](std::size_t r, std::size_t, std::span<const double> scores,
            std::span<const token_t> best) {
          losses.push_back(loss_of(t.objective, *rows[r], scores, best));
          sum.add(losses.back());
          if (chooses) {
            const index_t choice = choice_of(t.objective, *rows[r], scores, best);
            choices.push_back(static_cast<std::int32_t>(choice));
            right += choice == rows[r]->answer ? 1 : 0;
          }
        },
        [&](const scored_rows& done) {
          tokens += done.tokens;
          return in_python([] { return nb::none(); });
        });
  }
  const auto n = static_cast<double>(losses.size());
  nb::dict out;
  out["loss"] = sum.mean();
  out["accuracy"] = chooses ? nb::cast(static_cast<double>(right) / n) : nb::none();
  out["rows"] = losses.size();
  out["tokens"] = tokens;
  out["losses"] = numpy(losses);
  out["choices"] = chooses ? nb::cast(numpy(choices)) : nb::none();
  return out;
}

array<float> logits_of(opened& m, const std::vector<token_t>& tokens, const tuned_values& values) {
  require(!tokens.empty(), "there are no tokens");
  std::vector<float> out;
  {
    const nb::gil_scoped_release released;
    const std::lock_guard alone(m.busy);
    auto view = view_of(m.exec, target_of(m.model), values);
    auto pass = forward_of(m.exec, m.model);
    packing batch;
    batch.read(batch.add(tokens), static_cast<index_t>(tokens.size()) - 1, 0);
    pass.logits(batch, view.branches(), out);
  }
  return numpy(out);
}

/// The untuned model's values: none.
tuned_values no_values(const opened& m) {
  tuned_values out;
  out.how = sparse_settings{};
  out.model_hash = m.hash;
  return out;
}

tuned_values values_from(const opened& m, const std::string& path) {
  tuned_values out = read_values(path);
  require_model({{}, out.model_hash, {}}, m.hash, path);
  return out;
}

/// Offsets at places: a delta made in Python. As many of each, by tensor.
tuned_values delta_from(const opened& m, const places_in& places,
                        const std::vector<floats_in>& offsets) {
  delta out{mask_of(m, places), {}};
  for (std::size_t i = 0; i < places.size(); ++i) {
    const floats_in& from = offsets.at(i);
    require(from.size() == out.places.tensors[i].index.size(), places[i].first, ": ", from.size(),
            " offsets, wanted ", out.places.tensors[i].index.size());
    out.values.insert(out.values.end(), from.data(), from.data() + from.size());
  }
  return tuned_of(std::move(out));
}

}  // namespace

NB_MODULE(_zoq, module) {
  module.attr("__version__") = ZOQ_VERSION;
  nb::exception<error>(module, "Error");

  nb::class_<opened>(module, "Model")
      .def(nb::init<const std::string&, const std::string&, int, bool>(), nb::arg("path"),
           nb::arg("compute"), nb::arg("threads"), nb::arg("special_tokens"))
      .def_ro("hash", &opened::hash)
      .def_prop_ro("compute",
                   [](const opened& m) { return std::string(name_of(m.exec.products())); })
      .def_prop_ro("threads", [](const opened& m) { return m.exec.threads(); })
      .def_prop_ro("tensors",
                   [](const opened& m) {
                     nb::dict out;
                     for (const model_tensor& t : m.model.tensors()) {
                       out[t.name.c_str()] = nb::make_tuple(t.weight.rows(), t.weight.columns());
                     }
                     return out;
                   })
      .def("encode", [](const opened& m,
                        const std::string& words) { return numpy(m.words.encode(words, m.mode)); })
      .def("decode", [](const opened& m, const std::vector<token_t>& tokens) {
        const std::string bytes = m.words.decode(tokens);
        return nb::bytes(bytes.data(), bytes.size());
      });

  nb::class_<tuned_values>(module, "Tuned")
      .def_prop_ro("view", [](const tuned_values& t) { return policy_text(t.how); })
      .def_ro("model_hash", &tuned_values::model_hash)
      .def_prop_ro("places", [](const tuned_values& t) { return places_of(t.places); })
      .def_prop_ro("values", [](const tuned_values& t) { return values_of(t); })
      .def("save", [](const tuned_values& t, const std::string& path) { write_values(path, t); });

  module.def("choose_mask", &choose_mask, nb::arg("model"), nb::arg("score"), nb::arg("settings"),
             nb::arg("text"), nb::arg("lines"), nb::arg("path"), nb::arg("density"),
             nb::arg("scope"), nb::arg("samples"), nb::arg("length"), nb::arg("seed"),
             nb::arg("progress").none());
  module.def("read_mask", [](const opened& m, const std::string& path) {
    mask out = read_mask(path);
    require_model(out, m.hash, path);
    return places_of(out);
  });
  module.def("write_mask", [](const opened& m, const places_in& places, const std::string& path) {
    write_mask(path, mask_of(m, places));
  });
  nb::class_<run_settings>(module, "RunSettings")
      .def(nb::init<>())
      .def_rw("view", &run_settings::view)
      .def_rw("layers", &run_settings::layers)
      .def_rw("exclude", &run_settings::exclude)
      .def_rw("estimator", &run_settings::estimator)
      .def_rw("optimizer", &run_settings::optimizer)
      .def_rw("direction", &run_settings::direction)
      .def_rw("schedule", &run_settings::schedule)
      .def_rw("objective", &run_settings::objective)
      .def_rw("compute", &run_settings::compute)
      .def_rw("epsilon", &run_settings::epsilon, nb::arg().none())
      .def_rw("batch_size", &run_settings::batch_size)
      .def_rw("steps", &run_settings::steps)
      .def_rw("row_order", &run_settings::row_order)
      .def_rw("seed", &run_settings::seed)
      .def_rw("clip", &run_settings::clip)
      .def_rw("clip_norm", &run_settings::clip_norm);
  module.def("finetune", &finetune, nb::arg(), nb::arg(), nb::arg(), nb::arg().none(),
             nb::arg().none(), nb::arg(), nb::arg().none());
  module.def("evaluate", &evaluate_rows);
  module.def("logits", &logits_of);
  module.def("no_values", &no_values);
  module.def("read_values", &values_from);
  module.def("delta", &delta_from);
}
