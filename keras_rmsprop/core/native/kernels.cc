// RMSProp steps in one pass over memory.
//
// Two ops, for variables on this machine's CPU: `KerasRmsprop>Dense` updates a list of
// variables, `KerasRmsprop>Sparse` rows of one. Both write in place where nobody else
// holds the memory, and check everything before they change anything.
//
// The order of operations is that of `keras_rmsprop/core/formula.py`, which explains
// it; compiled with `-ffp-contract=off` the results have its bits, and so those of
// TensorFlow's own dense kernels.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/resource_mgr.h"
#include "tensorflow/core/framework/resource_var.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "tensorflow/core/lib/core/errors.h"

// One file for all processors of a kind: the loops exist twice, and the loader takes
// those that the processor has instructions for. They round alike.
#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(WITHOUT_CLONES)
#define CLONES __attribute__((target_clones("default", "avx2")))
#else
#define CLONES
#endif

// TensorFlow's locks and threads are not built to be seen by ThreadSanitizer; what they
// order is told here.
#if defined(__SANITIZE_THREAD__)
extern "C" void __tsan_acquire(void*);
extern "C" void __tsan_release(void*);
#define ACQUIRED(place) __tsan_acquire(place)
#define RELEASES(place) __tsan_release(place)
#else
#define ACQUIRED(place)
#define RELEASES(place)
#endif

namespace keras_rmsprop {
namespace {

using tensorflow::AllocatorAttributes;
using tensorflow::DataTypeToEnum;
using tensorflow::OpInputList;
using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::ResourceHandle;
using tensorflow::Tensor;
using tensorflow::Var;
using tensorflow::core::RefCountPtr;
namespace errors = tensorflow::errors;

// ---------------------------------------------------------------------------
// The step.

// How the formula is written down: as TensorFlow's dense kernels do, as Keras 3 does,
// or as OptimizerV2 does without momentum.
enum Form { kKernel, kKeras, kLegacy };
constexpr int kForms = 3;

template <typename T>
struct Scalars {
  T learning_rate, rho, one_minus_rho, momentum, epsilon;
};

// What a variable has: its value and its slots.
enum Part { kVariable, kRms, kMg, kMomentum };
constexpr int kParts = 4;

// Where to read each part and where to write it, the same place or one apart.
template <typename T>
struct Places {
  const T* from[kParts] = {};
  T* to[kParts] = {};
  const T* gradient = nullptr;

  Places From(int64_t offset) const {
    Places moved = *this;
    for (int part = 0; part < kParts; ++part) {
      if (from[part] == nullptr) continue;
      moved.from[part] += offset;
      moved.to[part] += offset;
    }
    moved.gradient += offset;
    return moved;
  }
};

template <typename T, Form form, bool centered, bool has_momentum>
__attribute__((always_inline)) inline void StepInline(const Places<T>& places,
                                                      int64_t count,
                                                      const Scalars<T>& scalars) {
  const T* variable = places.from[kVariable];
  const T* rms = places.from[kRms];
  const T* mg = places.from[kMg];
  const T* momentum = places.from[kMomentum];
  const T* gradient = places.gradient;
  T* new_variable = places.to[kVariable];
  T* new_rms = places.to[kRms];
  T* new_mg = places.to[kMg];
  T* new_momentum = places.to[kMomentum];
  const T rate = scalars.learning_rate, rho = scalars.rho;
  const T share = scalars.one_minus_rho, discount = scalars.momentum;
  const T epsilon = scalars.epsilon;
  const T greatest = std::numeric_limits<T>::max();
  const T limit = static_cast<T>(0.99 * std::sqrt(static_cast<double>(greatest)));

  const auto discounted = [=](T mean, T x) {
    return form == kKernel ? mean + (x - mean) * share : rho * mean + share * x;
  };
  const auto decayed = [=](T mean) {
    return form == kKernel ? mean - mean * share : rho * mean;
  };

#pragma GCC ivdep
  for (int64_t i = 0; i < count; ++i) {
    T g = gradient[i];
    if (centered) {
      const T size = std::fabs(g);
      g = size > limit && size <= greatest ? std::copysign(limit, g) : g;
    }
    T ms = discounted(rms[i], g * g);
    T mean = centered ? discounted(mg[i], g) : T(0);
    T radicand = centered ? ms - mean * mean : ms;
    if (form != kLegacy) radicand = radicand + epsilon;
    const T root = std::sqrt(radicand);
    const T divisor = form == kLegacy ? root + epsilon : root;
    const bool rests =
        form == kLegacy ? (radicand < 0) | (divisor <= 0) : radicand <= 0;
    T step = rests ? T(0) : rate * g / divisor;
    if (centered) {
      ms = rests ? decayed(rms[i]) : ms;
      mean = rests ? decayed(mg[i]) : mean;
      new_mg[i] = mean;
    }
    new_rms[i] = ms;
    if (has_momentum) {
      step = discount * momentum[i] + step;
      new_momentum[i] = step;
    }
    new_variable[i] = variable[i] - step;
  }
}

template <typename T>
using Step = void (*)(const Places<T>&, int64_t, const Scalars<T>&);

// Functions with clones cannot be templates.
#define DEFINE_STEP(T, form, centered, momentum)                             \
  CLONES void Step_##T##_##form##_##centered##_##momentum(                   \
      const Places<T>& places, int64_t count, const Scalars<T>& scalars) {   \
    StepInline<T, form, centered, momentum>(places, count, scalars);         \
  }
#define DEFINE_STEPS_OF(T, form)     \
  DEFINE_STEP(T, form, false, false) \
  DEFINE_STEP(T, form, false, true)  \
  DEFINE_STEP(T, form, true, false)  \
  DEFINE_STEP(T, form, true, true)
#define STEPS_OF(T, form)                                                \
  {{Step_##T##_##form##_false_false, Step_##T##_##form##_false_true},    \
   {Step_##T##_##form##_true_false, Step_##T##_##form##_true_true}}
#define DEFINE_STEPS(T)                                                       \
  DEFINE_STEPS_OF(T, kKernel)                                                 \
  DEFINE_STEPS_OF(T, kKeras)                                                  \
  DEFINE_STEPS_OF(T, kLegacy)                                                 \
  Step<T> FindStep(Form form, bool centered, bool momentum, T) {              \
    static const Step<T> steps[kForms][2][2] = {                              \
        STEPS_OF(T, kKernel), STEPS_OF(T, kKeras), STEPS_OF(T, kLegacy)};     \
    return steps[form][centered][momentum];                                   \
  }

DEFINE_STEPS(float)
DEFINE_STEPS(double)

// ---------------------------------------------------------------------------
// Variables.

// The variables of an op, locked in the order that TensorFlow's own ops keep to, so
// that ops on the same variables cannot wait for each other.
class LockedVariables {
 public:
  ~LockedVariables() {
    for (Var* variable : locked_) {
      RELEASES(variable);
      variable->mu()->unlock();
    }
  }

  absl::Status Add(OpKernelContext* context, const char* list,
                   std::vector<Var*>* found) {
    OpInputList handles;
    TF_RETURN_IF_ERROR(context->input_list(list, &handles));
    for (const Tensor& some : handles) {
      const auto each = some.flat<ResourceHandle>();
      for (int64_t i = 0; i < each.size(); ++i) {
        RefCountPtr<Var> variable;
        TF_RETURN_IF_ERROR(tensorflow::LookupResource(context, each(i), &variable));
        found->push_back(variable.get());
        held_.push_back(std::move(variable));
      }
    }
    return absl::OkStatus();
  }

  void Lock() {
    for (const auto& variable : held_) locked_.push_back(variable.get());
    std::sort(locked_.begin(), locked_.end(),
              [](Var* a, Var* b) { return a->mu() < b->mu(); });
    locked_.erase(std::unique(locked_.begin(), locked_.end()), locked_.end());
    for (Var* variable : locked_) {
      variable->mu()->lock();
      ACQUIRED(variable);
    }
  }

  // Whether a variable was given in two places.
  bool HasTwice() const { return locked_.size() < held_.size(); }

 private:
  std::vector<RefCountPtr<Var>> held_;
  std::vector<Var*> locked_;
};

// The parts of one variable, in the order of `Part`; null where there is none.
struct Parts {
  Var* part[kParts] = {};
};

absl::Status FindParts(OpKernelContext* context, LockedVariables* locked,
                       const std::vector<const char*>& lists,
                       std::vector<Parts>* found) {
  for (int part = 0; part < kParts; ++part) {
    std::vector<Var*> variables;
    TF_RETURN_IF_ERROR(locked->Add(context, lists[part], &variables));
    if (part == kVariable) found->resize(variables.size());
    OpInputList given;
    TF_RETURN_IF_ERROR(context->input_list(lists[part], &given));
    if (part > kRms && given.size() == 0) continue;
    if (variables.size() != found->size()) {
      return errors::InvalidArgument("`", lists[part], "` must hold ", found->size(),
                                     " variables. Received: ", variables.size());
    }
    for (size_t i = 0; i < variables.size(); ++i) (*found)[i].part[part] = variables[i];
  }
  return absl::OkStatus();
}

absl::Status CheckParts(const Parts& parts, tensorflow::DataType dtype) {
  const Tensor& value = *parts.part[kVariable]->tensor();
  for (Var* part : parts.part) {
    if (part == nullptr) continue;
    if (!part->is_initialized || !part->tensor()->IsInitialized()) {
      return errors::FailedPrecondition("A variable of the step is not initialized: ",
                                        part->DebugString());
    }
    const Tensor& tensor = *part->tensor();
    if (tensor.dtype() != dtype || tensor.shape() != value.shape()) {
      return errors::InvalidArgument(
          "Slots must have the dtype and the shape of their variable, ",
          tensorflow::DataTypeString(dtype), " and ", value.shape().DebugString(),
          ". Received: ", tensorflow::DataTypeString(tensor.dtype()), " and ",
          tensor.shape().DebugString());
    }
  }
  return absl::OkStatus();
}

// Memory to write the parts of one variable to: their own, or where somebody else
// holds that, new memory that becomes theirs.
class Targets {
 public:
  template <typename T>
  absl::Status Prepare(OpKernelContext* context, const Parts& parts,
                       Places<T>* places) {
    parts_ = parts;
    for (int i = 0; i < kParts; ++i) {
      if (parts.part[i] == nullptr) continue;
      Tensor* tensor = parts.part[i]->tensor();
      places->from[i] = tensor->flat<T>().data();
      if (tensor->RefCountIsOne()) {
        places->to[i] = tensor->flat<T>().data();
        continue;
      }
      AllocatorAttributes attributes;
      attributes.set_gpu_compatible(true);
      attributes.set_nic_compatible(true);
      TF_RETURN_IF_ERROR(context->allocate_temp(tensor->dtype(), tensor->shape(),
                                                &replacement_[i], attributes));
      replaced_[i] = true;
      places->to[i] = replacement_[i].flat<T>().data();
    }
    return absl::OkStatus();
  }

  bool IsReplaced(int part) const { return replaced_[part]; }

  void Commit() {
    for (int i = 0; i < kParts; ++i) {
      if (replaced_[i]) *parts_.part[i]->tensor() = replacement_[i];
    }
  }

 private:
  Parts parts_;
  Tensor replacement_[kParts];
  bool replaced_[kParts] = {};
};

// ---------------------------------------------------------------------------
// The ops.

template <typename T>
class StepOp : public OpKernel {
 public:
  explicit StepOp(OpKernelConstruction* context) : OpKernel(context) {
    std::string form;
    OP_REQUIRES_OK(context, context->GetAttr("form", &form));
    form_ = form == "kernel" ? kKernel : form == "keras" ? kKeras : kLegacy;
  }

  void Compute(OpKernelContext* context) final {
    ACQUIRED(this);
    OP_REQUIRES_OK(context, TakeStep(context));
  }

 protected:
  virtual absl::Status TakeStep(OpKernelContext* context) = 0;

  absl::Status ReadScalars(OpKernelContext* context, Scalars<T>* scalars) {
    TF_RETURN_IF_ERROR(Read(context, "learning_rate", &scalars->learning_rate));
    TF_RETURN_IF_ERROR(Read(context, "rho", &scalars->rho));
    TF_RETURN_IF_ERROR(Read(context, "momentum_discount", &scalars->momentum));
    TF_RETURN_IF_ERROR(Read(context, "epsilon", &scalars->epsilon));
    // Given where it was rounded from a wider number than `rho`.
    scalars->one_minus_rho = T(1) - scalars->rho;
    return Read(context, "one_minus_rho", &scalars->one_minus_rho);
  }

  Step<T> step(const Parts& parts) const {
    return FindStep(form_, parts.part[kMg] != nullptr,
                    parts.part[kMomentum] != nullptr, T());
  }

  // Reads a scalar, or a list of none or one.
  static absl::Status Read(OpKernelContext* context, const char* name, T* value) {
    OpInputList list;
    TF_RETURN_IF_ERROR(context->input_list(name, &list));
    for (const Tensor& tensor : list) {
      if (tensor.NumElements() != 1) {
        return errors::InvalidArgument("`", name, "` must be a scalar. Received: ",
                                       tensor.shape().DebugString());
      }
      *value = tensor.flat<T>()(0);
    }
    return absl::OkStatus();
  }

  // Runs `work(start, end)` for parts of `[0, total)`, on TensorFlow's own threads.
  template <typename Work>
  static void Share(OpKernelContext* context, int64_t total, int64_t cost, Work work) {
    auto* workers = context->device()->tensorflow_cpu_worker_threads()->workers;
    [[maybe_unused]] static char begun, done;
    const std::function<void(int64_t, int64_t)> block = [&](int64_t start,
                                                            int64_t end) {
      ACQUIRED(&begun);
      work(start, end);
      RELEASES(&done);
    };
    RELEASES(&begun);
    workers->ParallelFor(total, cost, block);
    ACQUIRED(&done);
  }

 private:
  Form form_;
};

// About how many processor cycles an element takes, which decides how many threads are
// worth their start.
constexpr int64_t kCyclesPerElement = 6;

template <typename T>
class DenseOp : public StepOp<T> {
 public:
  explicit DenseOp(OpKernelConstruction* context) : StepOp<T>(context) {
    RELEASES(this);
  }

  absl::Status TakeStep(OpKernelContext* context) override {
    Scalars<T> scalars;
    TF_RETURN_IF_ERROR(this->ReadScalars(context, &scalars));
    OpInputList gradients;
    TF_RETURN_IF_ERROR(context->input_list("gradients", &gradients));
    LockedVariables locked;
    std::vector<Parts> parts;
    TF_RETURN_IF_ERROR(FindParts(context, &locked,
                                 {"variables", "rms", "mg", "momentum"}, &parts));
    if (parts.size() != static_cast<size_t>(gradients.size())) {
      return errors::InvalidArgument("`variables` must hold a variable for each of ",
                                     gradients.size(),
                                     " gradients. Received: ", parts.size());
    }
    locked.Lock();
    for (size_t i = 0; i < parts.size(); ++i) {
      TF_RETURN_IF_ERROR(CheckParts(parts[i], DataTypeToEnum<T>::value));
      const auto& shape = parts[i].part[kVariable]->tensor()->shape();
      if (gradients[i].shape() != shape) {
        return errors::InvalidArgument(
            "A gradient must have its variable's shape ", shape.DebugString(),
            ". Received: ", gradients[i].shape().DebugString());
      }
    }
    // One that is given twice takes one step after the other.
    const size_t at_once = locked.HasTwice() ? 1 : parts.size();
    for (size_t first = 0; first < parts.size(); first += at_once) {
      TF_RETURN_IF_ERROR(
          Update(context, parts, gradients, first, first + at_once, scalars));
    }
    return absl::OkStatus();
  }

 private:
  absl::Status Update(OpKernelContext* context, const std::vector<Parts>& parts,
                      const OpInputList& gradients, size_t first, size_t last,
                      const Scalars<T>& scalars) {
    const size_t count = last - first;
    std::vector<Targets> targets(count);
    std::vector<Places<T>> places(count);
    std::vector<int64_t> starts(count + 1, 0);
    for (size_t i = 0; i < count; ++i) {
      TF_RETURN_IF_ERROR(targets[i].Prepare(context, parts[first + i], &places[i]));
      const Tensor& gradient = gradients[first + i];
      places[i].gradient = gradient.flat<T>().data();
      starts[i + 1] = starts[i] + gradient.NumElements();
    }
    const Step<T> step = this->step(parts[first]);
    this->Share(context, starts.back(), kCyclesPerElement,
                [&](int64_t start, int64_t end) {
                  auto after = std::upper_bound(starts.begin(), starts.end(), start);
                  size_t i = after - starts.begin() - 1;
                  for (; i < count && starts[i] < end; ++i) {
                    const int64_t from = std::max(start, starts[i]) - starts[i];
                    const int64_t to = std::min(end, starts[i + 1]) - starts[i];
                    step(places[i].From(from), to - from, scalars);
                  }
                });
    for (Targets& target : targets) target.Commit();
    return absl::OkStatus();
  }
};

// The slices of a gradient in the order of their rows: slices of the same row follow
// each other, in the order in which they came.
class SortedSlices {
 public:
  template <typename Index>
  absl::Status Sort(const Index* indices, int64_t count, int64_t rows) {
    position_bits_ = Bits(count);
    const int row_bits = Bits(rows);
    if (position_bits_ + row_bits > 64) {
      return errors::Unimplemented("Too many slices: ", count, " of ", rows, " rows.");
    }
    keys_.resize(count);
    for (int64_t i = 0; i < count; ++i) {
      if (indices[i] < 0 || indices[i] >= rows) {
        return errors::InvalidArgument("Indices must lie in [0, ", rows - 1,
                                       "]. Received: an index of ", indices[i]);
      }
      keys_[i] = static_cast<uint64_t>(indices[i]) << position_bits_ | i;
    }
    // By one digit after the other, from the last to the first.
    constexpr int kDigitBits = 11;
    std::vector<uint64_t> sorted(count);
    for (int bit = 0; bit < row_bits; bit += kDigitBits) {
      const int shift = position_bits_ + bit;
      const auto digit = [=](uint64_t key) {
        return key >> shift & ((1 << kDigitBits) - 1);
      };
      std::vector<int64_t> places((1 << kDigitBits) + 1, 0);
      for (uint64_t key : keys_) ++places[digit(key) + 1];
      for (size_t i = 1; i < places.size(); ++i) places[i] += places[i - 1];
      for (uint64_t key : keys_) sorted[places[digit(key)]++] = key;
      keys_.swap(sorted);
    }
    for (int64_t i = 0; i < count; ++i) {
      if (i == 0 || Row(i) != Row(i - 1)) starts_.push_back(i);
    }
    starts_.push_back(count);
    return absl::OkStatus();
  }

  // How many rows there are slices of.
  int64_t distinct() const { return starts_.size() - 1; }
  // Row, first slice and number of slices of the n-th of those.
  int64_t row(int64_t n) const { return Row(starts_[n]); }
  int64_t first(int64_t n) const { return starts_[n]; }
  int64_t slices(int64_t n) const { return starts_[n + 1] - starts_[n]; }
  // Where in the gradient a slice stands.
  int64_t position(int64_t slice) const {
    return keys_[slice] & ((uint64_t{1} << position_bits_) - 1);
  }

 private:
  static int Bits(int64_t count) {
    int bits = 1;
    while (bits < 63 && int64_t{1} << bits < count) ++bits;
    return bits;
  }

  int64_t Row(int64_t slice) const { return keys_[slice] >> position_bits_; }

  std::vector<uint64_t> keys_;
  std::vector<int64_t> starts_;
  int position_bits_;
};

template <typename T, typename Index>
class SparseOp : public StepOp<T> {
 public:
  explicit SparseOp(OpKernelConstruction* context) : StepOp<T>(context) {
    RELEASES(this);
  }

  absl::Status TakeStep(OpKernelContext* context) override {
    Scalars<T> scalars;
    TF_RETURN_IF_ERROR(this->ReadScalars(context, &scalars));
    const Tensor *gradient, *indices;
    TF_RETURN_IF_ERROR(context->input("gradient", &gradient));
    TF_RETURN_IF_ERROR(context->input("indices", &indices));
    LockedVariables locked;
    std::vector<Parts> parts;
    TF_RETURN_IF_ERROR(FindParts(context, &locked,
                                 {"variable", "rms", "mg", "momentum"}, &parts));
    locked.Lock();
    if (parts.size() != 1 || locked.HasTwice()) {
      return errors::InvalidArgument("One variable must be given, and its slots.");
    }
    TF_RETURN_IF_ERROR(CheckParts(parts[0], DataTypeToEnum<T>::value));
    const auto& shape = parts[0].part[kVariable]->tensor()->shape();
    if (shape.dims() == 0 || indices->dims() != 1) {
      return errors::InvalidArgument(
          "Indices of shape (n,) and a variable with rows are needed. Received: ",
          indices->shape().DebugString(), " and ", shape.DebugString());
    }
    auto expected = shape;
    expected.set_dim(0, indices->NumElements());
    if (gradient->shape() != expected) {
      return errors::InvalidArgument("The gradient must have a row for each index, ",
                                     expected.DebugString(), ". Received: ",
                                     gradient->shape().DebugString());
    }
    SortedSlices slices;
    TF_RETURN_IF_ERROR(slices.Sort(indices->flat<Index>().data(),
                                   indices->NumElements(), shape.dim_size(0)));
    if (gradient->NumElements() == 0) return absl::OkStatus();

    Targets targets;
    Places<T> places;
    TF_RETURN_IF_ERROR(targets.Prepare(context, parts[0], &places));
    const int64_t elements = shape.num_elements();
    for (int part = 0; part < kParts; ++part) {
      if (!targets.IsReplaced(part)) continue;
      const T* from = places.from[part];
      T* to = places.to[part];
      this->Share(context, elements, 1, [=](int64_t start, int64_t end) {
        std::memcpy(to + start, from + start, (end - start) * sizeof(T));
      });
      places.from[part] = to;
    }
    places.gradient = gradient->flat<T>().data();
    UpdateRows(context, slices, elements / shape.dim_size(0), places,
               this->step(parts[0]), scalars);
    targets.Commit();
    return absl::OkStatus();
  }

 private:
  void UpdateRows(OpKernelContext* context, const SortedSlices& slices, int64_t width,
                  const Places<T>& places, Step<T> step, const Scalars<T>& scalars) {
    const int64_t cost = width * kCyclesPerElement + kCyclesToReachARow;
    this->Share(context, slices.distinct(), cost, [&](int64_t start, int64_t end) {
      std::vector<T> sum(width);
      for (int64_t n = start; n < end; ++n) {
        if (n + kRowsAhead < end) Prefetch(places, slices.row(n + kRowsAhead), width);
        const T* values = places.gradient + slices.position(slices.first(n)) * width;
        if (slices.slices(n) > 1) {
          std::copy(values, values + width, sum.begin());
          for (int64_t i = 1; i < slices.slices(n); ++i) {
            values = places.gradient + slices.position(slices.first(n) + i) * width;
            for (int64_t j = 0; j < width; ++j) sum[j] += values[j];
          }
          values = sum.data();
        }
        Places<T> row = places.From(slices.row(n) * width);
        row.gradient = values;
        step(row, width, scalars);
      }
    });
  }

  static void Prefetch(const Places<T>& places, int64_t row, int64_t width) {
    constexpr int64_t kLine = 64 / sizeof(T), kFar = 32 * kLine;
    for (const T* from : places.from) {
      if (from == nullptr) continue;
      const T* line = from + row * width;
      for (int64_t i = 0; i < std::min(width, kFar); i += kLine) {
        __builtin_prefetch(line + i, 1);
      }
    }
  }

  // Rows lie anywhere in memory; those to come are asked for early.
  static constexpr int64_t kRowsAhead = 4, kCyclesToReachARow = 500;
};

// Handles may come one by one, by which TensorFlow orders in a graph what is done with
// each variable, or many in one tensor, which costs less.
REGISTER_OP("KerasRmsprop>Dense")
    .Input("variables: V * resource")
    .Input("rms: R * resource")
    .Input("mg: C * resource")
    .Input("momentum: M * resource")
    .Input("gradients: N * T")
    .Input("learning_rate: T")
    .Input("rho: T")
    .Input("one_minus_rho: P * T")
    .Input("momentum_discount: T")
    .Input("epsilon: T")
    .Attr("form: {'kernel', 'keras', 'legacy'}")
    .Attr("N: int >= 1")
    .Attr("V: int >= 1")
    .Attr("R: int >= 1")
    .Attr("C: int >= 0")
    .Attr("M: int >= 0")
    .Attr("P: int >= 0")
    .Attr("T: {float, double}")
    .SetIsStateful()
    .SetShapeFn(tensorflow::shape_inference::NoOutputs);

REGISTER_OP("KerasRmsprop>Sparse")
    .Input("variable: N * resource")
    .Input("rms: N * resource")
    .Input("mg: C * resource")
    .Input("momentum: M * resource")
    .Input("gradient: T")
    .Input("indices: Tindices")
    .Input("learning_rate: T")
    .Input("rho: T")
    .Input("one_minus_rho: P * T")
    .Input("momentum_discount: T")
    .Input("epsilon: T")
    .Attr("form: {'kernel', 'keras', 'legacy'}")
    .Attr("N: int = 1")
    .Attr("C: int >= 0")
    .Attr("M: int >= 0")
    .Attr("P: int >= 0")
    .Attr("T: {float, double}")
    .Attr("Tindices: {int32, int64}")
    .SetIsStateful()
    .SetShapeFn(tensorflow::shape_inference::NoOutputs);

#define REGISTER(T)                                                      \
  REGISTER_KERNEL_BUILDER(Name("KerasRmsprop>Dense")                     \
                              .Device(tensorflow::DEVICE_CPU)            \
                              .TypeConstraint<T>("T"),                   \
                          DenseOp<T>);                                   \
  REGISTER_KERNEL_BUILDER(Name("KerasRmsprop>Sparse")                    \
                              .Device(tensorflow::DEVICE_CPU)            \
                              .TypeConstraint<T>("T")                    \
                              .TypeConstraint<int32_t>("Tindices"),      \
                          SparseOp<T, int32_t>);                         \
  REGISTER_KERNEL_BUILDER(Name("KerasRmsprop>Sparse")                    \
                              .Device(tensorflow::DEVICE_CPU)            \
                              .TypeConstraint<T>("T")                    \
                              .TypeConstraint<int64_t>("Tindices"),      \
                          SparseOp<T, int64_t>);
REGISTER(float)
REGISTER(double)

}  // namespace
}  // namespace keras_rmsprop
