"""Models that learn and models that answer."""

from kit import Board, Limit, Variable, bars, graph, number, rows

MODEL = 'model=~"$model", <job>'
TRAINING = Board(
    "outrigger-ml-training", "ML training", "How training runs go: loss, data, the time an epoch takes, and whether the hardware is kept busy.",
    "ml:training_loss:value", alerts="Ml(Training|DataQuality|Cache|Jit|Security).*|Gpu.*", instance=False, rows=[
    ("Progress", [
        graph("Training loss", "Should fall. Flat: the learning rate or the data; not a number: stop the run, lower the rate, look at the last batch.",
              [("ml:training_loss:value{<job>}", "{{model}} {{instance}}")], "short", alerts=["MlTrainingLossNotANumber", "MlTrainingLossNotFalling"], width=16),
        number("Best loss of the hour", "Compare with the hour before: no better means that the run goes nowhere.", "min(min_over_time(ml:training_loss:value{<job>}[1h]))", "short", alerts=["MlTrainingLossNotFalling"], width=4, height=8),
        number("Best loss of the hour before", "What the last hour has to beat.", "min(min_over_time(ml:training_loss:value{<job>}[1h] offset 1h)) or min(min_over_time(ml:training_loss:value{<job>}[1h]))", "short", alerts=["MlTrainingLossNotFalling"], width=4, height=8),
        graph("Accuracy", "Of the run, as it reports it.", [("train_accuracy_ratio{<job>}", "{{model}} {{instance}}")], "percentunit", low=0, high=1),
        graph("Epochs of an hour", "Falling: an epoch takes longer. 0: the run hangs, or is over.", [("increase(train_epochs_total{<job>}[1h])", "{{model}} {{instance}}")], "short", low=0),
    ]),
    ("Time", [
        graph("Duration of an epoch", "Mean. Growing: data loading, or a machine that gets slower.", [("sum by (job, model) (train_epoch_duration_seconds_sum{<job>}) / sum by (job, model) (train_epoch_duration_seconds_count{<job>})", "{{model}}")], "s", low=0),
        graph("Cache hits", "Share of lookups that hit. Below the line: the cache is too small, or data is not read in order.", [("ml:cache_hits:ratio{<job>}", "{{model}}")], "percentunit", "MlCacheHitsLow", low=0, high=1),
        graph("Just-in-time compilation", "Share of computing time. High: shapes change from batch to batch; pad them, or compile ahead.", [("ml:jit_overhead:ratio{<job>}", "{{model}}")], "percentunit", "MlJitOverheadHigh", low=0),
        graph("Security measures", "Share of computing time spent on encryption, attestation and the like.", [("ml:security_overhead:ratio{<job>}", "{{model}}")], "percentunit", "MlSecurityOverheadHigh", low=0),
    ]),
    ("Data and hardware", [
        graph("Failed data checks", "Of the last run, or of 15 minutes. Not 0: stop before the model learns it.", [("ml:data_quality_failures:count{<job>}", "{{model}}")], "short", "MlDataQualityFailures", low=0),
        graph("GPU utilisation", "Low during training: the GPU waits for data. See the GPU board.", [("DCGM_FI_DEV_GPU_UTIL", "{{instance}} GPU {{gpu}}")], "percent", alerts=["GpuIdleWhileAllocated"], low=0, high=100),
        graph("GPU memory", "Share in use.", [("DCGM_FI_DEV_FB_USED / (DCGM_FI_DEV_FB_USED + DCGM_FI_DEV_FB_FREE)", "{{instance}} GPU {{gpu}}")], "percentunit", "GpuMemoryNearlyFull", low=0, high=1),
        rows("Last successful run", "Seconds since a run came to its end. Long ago: it hangs or fails.", "sort_desc(time() - train_last_success_timestamp_seconds{<job>})", "s", hide=["__name__", "job", "instance"], rename={"Value": "Ago"}),
    ]),
])

INFERENCE = Board(
    "outrigger-ml-inference", "ML inference", "Models that answer: how fast, how often wrong, how sure, and how close to the model they stand for.",
    "ml:inference_requests:rate5m", alerts="Ml.*|SloInference.*|SloAccuracy.*", instance=False, variables=[Variable("model", "model", "ml:inference_requests:rate5m{<job>}", "Model")], rows=[
    ("Service", [
        number("Demand", "Demand. A sudden fall: look upstream.", f"sum(ml:inference_requests:rate5m{{{MODEL}}})", "reqps"),
        number("Error ratio", "Share that fails. Above the line: the model server's log first, then its GPU.", f"sum(ml:inference_errors:rate5m{{{MODEL}}}) / sum(ml:inference_requests:rate5m{{{MODEL}}})", "percentunit", "MlInferenceErrorsHigh"),
        number("p95", "Of the slowest model. Above the line: batch size, queue, or a GPU that is held back.", f"max(ml:inference_latency:seconds{{{MODEL}}})", "s", "MlInferenceLatencyHigh"),
        number("Confident", "Least share of predictions with a confidence above 0.8. Falling: the data drifts from what was learnt.", f"min(ml:confident_predictions:ratio{{{MODEL}}})", "percentunit", "MlConfidenceLow"),
        number("Reviewed", "Largest share of predictions that a person has to look at.", f"max(ml:reviewed_predictions:ratio{{{MODEL}}})", "percentunit", "MlReviewRateHigh"),
        number("Least accuracy kept", "Least share of the reference model's accuracy. Below the line: take the change back.", f"min(ml:accuracy_preservation:ratio{{{MODEL}}})", "percentunit", "MlAccuracyNotPreserved", decimals=2),
    ]),
    ("Speed", [
        graph("p95 of the inference time", "By model.", [(f"ml:inference_latency:seconds{{{MODEL}}}", "{{model}}")], "s", "MlInferenceLatencyHigh", low=0),
        graph("Percentiles", "p50, p90, p99 over all chosen models. Only p99 high: a few long inputs; all high: not enough capacity.",
              [(f"histogram_quantile({q}, sum by (le) (ml:inference_duration_seconds_bucket:rate5m{{{MODEL}}}))", f"p{int(float(q) * 100)}") for q in ("0.5", "0.9", "0.99")], "s", alerts=["MlInferenceLatencyHigh", "SloInferenceLatencyBurn"], low=0),
        graph("Within 2 s", "Share of inferences answered within 2 s: what the SLO counts.", [(f'ml:inferences_within_2s:rate5m{{{MODEL}}} / ignoring (le) ml:inference_duration_seconds_bucket:rate5m{{le="+Inf", {MODEL}}}', "{{model}}")], "percentunit", alerts=["SloInferenceLatencyBurn"], low=0, high=1),
        graph("Inferences a second", "By model.", [(f"ml:inference_requests:rate5m{{{MODEL}}}", "{{model}}")], "reqps", low=0),
    ]),
    ("Quality", [
        graph("Errors", "Share that fails, by model.", [(f"ml:inference_errors:rate5m{{{MODEL}}} / ml:inference_requests:rate5m{{{MODEL}}}", "{{model}}")], "percentunit", "MlInferenceErrorsHigh", alerts=["SloInferenceSuccessBurn"], low=0),
        graph("Confidence", "Share of predictions with a confidence above 0.8.", [(f"ml:confident_predictions:ratio{{{MODEL}}}", "{{model}}")], "percentunit", "MlConfidenceLow", low=0, high=1),
        bars("Distribution of confidence", "Predictions of the last hour up to each confidence. Much on the left: the model guesses.", [('sum by (le) (increase(ml_prediction_confidence_bucket{model=~"$model", <job>}[1h]))', "up to {{le}}")], "short", low=0),
        graph("Review rate", "Share of predictions that go to a person.", [(f"ml:reviewed_predictions:ratio{{{MODEL}}}", "{{model}}")], "percentunit", "MlReviewRateHigh", low=0),
        graph("Accuracy kept", "Of the reference model's.", [(f"ml:accuracy_preservation:ratio{{{MODEL}}}", "{{model}}")], "percentunit", "MlAccuracyNotPreserved", alerts=["SloAccuracyPreservationBurn"], decimals=2),
        graph("Cache hits", "Share of lookups that hit.", [(f"ml:cache_hits:ratio{{{MODEL}}}", "{{model}}")], "percentunit", "MlCacheHitsLow", low=0, high=1),
    ]),
])

BOARDS = [TRAINING, INFERENCE]
