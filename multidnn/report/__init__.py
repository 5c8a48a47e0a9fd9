"""Tables, figures and traces from the result files: every function takes paths, reads, and writes one file whole or not at all.

Nothing is imported here, so that the package costs nothing until one of its modules is used:

- `summary.summarise`: summary.csv and summary.json; `page.write_page`: the same as a self-contained HTML page
- `timeline.draw_timelines`, `layers.draw_layers`, `transitions.draw_transitions`, `emc.draw_heatmap`, `emc.draw_demand`,
  `contention.draw_contention`, `error.draw_error`: one figure each; the suffix of the output (.svg, .pdf, .png) decides its form
- `traces.write_trace`: Chrome trace events of one schedule, predicted and measured
"""
