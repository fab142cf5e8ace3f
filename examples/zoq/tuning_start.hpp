// What `zoq finetune` starts with: the view, the places of its mask, and its values.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>
#include <variant>
#include <zoq/io/dense_mask_file.hpp>
#include <zoq/model/target.hpp>
#include <zoq/sparse/algebra.hpp>
#include <zoq/view/values_file.hpp>

#include "finetune_options.hpp"
#include "together.hpp"

namespace zoq::cli {

class tuning_start {
 public:
  tuning_start(const finetune_options& options, const opened_model& m) : o_(options), m_(m) {}

  /// Reads or makes what the options name. A run that goes on gives the file of its mask: its values are
  /// those of its checkpoint.
  void find(const std::string& mask_of_run) {
    const bool of_file = !o_.mask_from.empty() && o_.mask.score.empty();
    const bool resumes = !mask_of_run.empty();
    const bool values = of_file && !resumes && holds_values(o_.mask_from);
    const std::string& from = o_.start_from.empty() && values ? o_.mask_from : o_.start_from;
    from_ = resumes         ? (o_.needs_mask() ? mask_of_run : "")
            : !from.empty() ? from
            : of_file       ? o_.mask_from
                            : "";
    if (!from.empty() && !resumes) {
      start_ = values_for(m_, from);
      require(name_of(start_.how) == name_of(o_.named_view()), from, ": of the view ",
              name_of(start_.how), ", --view is ", o_.view);
    }
    start_.how = o_.named_view();
    start_.model_hash = m_.model.hash();
    if (from.empty()) {
      start_.selection = o_.selection();
    }
    if (!o_.prompt_text.empty()) {
      start_.tokens = m_.words.encode(o_.prompt_text, o_.common.mode());
    }
    if (resumes) {
      start_.places = o_.needs_mask() ? read_for_model(mask_of_run) : mask{};
    } else if (!o_.mask_from.empty() && !values) {
      add_places(of_file ? read_for_model(o_.mask_from)
                         : made_once([&] { return choose_mask(o_.common, m_, o_.mask); }));
    }
  }

  [[nodiscard]] const mask& places() const { return start_.places; }
  [[nodiscard]] const std::string& model_hash() const { return start_.model_hash; }

  /// The view at its start. Keeps a reference to the executor.
  template <executor X>
  [[nodiscard]] laid_out_view<X, any_layout<X>> view(const X& exec) const {
    return from_source(from_.empty() ? "--view " + o_.view : from_, [&] {
      return start_.blocks.empty()
                 ? laid_out_view<X, any_layout<X>>(exec, layout_of(exec, start_.how, target()))
                 : view_of(exec, target(), start_);
    });
  }
  /// What the view is now, for a file.
  template <executor X, class View>
  [[nodiscard]] zoq::tuned_values now(const X& exec, const View& view) const {
    return tuned_of(exec, start_.how, target(), view, start_.model_hash);
  }

 private:
  // With values to start from, nothing that was learned is lost: their places stay tuned.
  void add_places(const mask& places) {
    if (start_.blocks.empty()) {
      start_.places = places;
      return;
    }
    require(std::holds_alternative<sparse_settings>(start_.how), o_.start_from,
            ": another --mask beside --start is for the view sparse");
    zoq::tuned_values both = tuned_of(at_places(delta_of(start_), united(places, start_.places)));
    start_.places = std::move(both.places);
    start_.blocks = std::move(both.blocks);
  }

  [[nodiscard]] mask read_for_model(const std::string& path) const {
    mask out = read_any_mask(
        path, {.heads = m_.model.config().heads, .kv_heads = m_.model.config().kv_heads});
    require_model(out, start_.model_hash, path);
    return out;
  }

  [[nodiscard]] view_target target() const {
    view_target out = target_of(m_.model);
    out.selection = start_.selection;
    out.tokens = start_.tokens;
    out.places = o_.needs_mask() ? &start_.places : nullptr;
    return out;
  }

  const finetune_options& o_;
  const opened_model& m_;
  zoq::tuned_values start_;
  std::string from_;  // the file of values or places, if there is one
};

}  // namespace zoq::cli
