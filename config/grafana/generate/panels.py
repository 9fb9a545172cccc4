"""What the dashboards are made of: Grafana's builders with what all of nexusd's panels have in common.

In an expression `@` stands for the matchers of the dashboard's variables: `nexusd_leader{@}`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import count

from grafana_foundation_sdk.builders import common as part
from grafana_foundation_sdk.builders import dashboard, prometheus, stat, statetimeline, timeseries
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as model

SELECTED = 'job=~"$job", instance=~"$instance"'
SOURCE = model.DataSourceRef(type_val="prometheus", uid="$datasource")
GREEN, YELLOW, ORANGE, RED, BLUE = "green", "yellow", "orange", "red", "blue"

_REPLICA = """topk by (job) (1, 1e12 * nexusd_leader{@} + on (job, instance)
max by (job, instance) (nexusd_poll_last_success_timestamp_seconds{@}))"""

Colours = Mapping[float | None, str]
"""By the value from which each holds; None: from the least."""
Words = Mapping[int, tuple[str, str]]
"""A word and its colour by value."""


def once(metric: str) -> str:
    """Return the metric of one replica of each job.

    It is the leader's, else that of the replica with the newest data.

    Replicas show the same facts but not at the same moment. While an instance changes its status, summing the
    maximum of each status over the replicas would count it twice.
    """
    return f"({metric} and on (job, instance) {_REPLICA})"


@dataclass(frozen=True)
class Query:
    """`name`: of each series, with labels in double braces."""

    expression: str
    name: str = ""

    def build(self, number: int) -> prometheus.Dataquery:
        expression = " ".join(self.expression.split()).replace("{@", "{" + SELECTED)
        return (
            prometheus.Dataquery()
            .expr(expression)
            .legend_format(self.name)
            .ref_id(chr(ord("A") + number))
            .datasource(SOURCE)
        )


@dataclass(frozen=True)
class Panel:
    """`kind`: lines, stacked, bars, number, name (of a series) or states. `unit`: Grafana's id of it.
    `words`: said instead of values.
    """

    title: str
    text: str
    unit: str
    queries: tuple[Query, ...]
    kind: str = "lines"
    width: int = 12
    height: int = 8
    colours: Colours | None = None
    words: Words | None = None

    def build(self, number: int) -> timeseries.Panel | stat.Panel | statetimeline.Panel:
        panel = _KINDS[self.kind]().id(number)
        panel.title(self.title).description(self.text).unit(self.unit).datasource(SOURCE)
        panel.span(self.width).height(self.height)
        for position, query in enumerate(self.queries):
            panel.with_target(query.build(position))
        if self.colours is not None:
            panel.thresholds(_thresholds(self.colours))
        if self.words is not None:
            panel.mappings([_mapping(self.words)])
        if self.kind == "lines" and self.colours is not None:
            style = part.GraphThresholdsStyleConfig().mode(common.GraphTresholdsStyleMode.DASHED)
            panel.thresholds_style(style)
        return panel


def dashboard_of(uid: str, title: str, text: str, rows: Mapping[str, Iterable[Panel]]) -> dashboard.Dashboard:
    """Rows of panels by the rows' titles."""
    built = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(text)
        .tags(["nexusd"])
        .readonly()
        .timezone("browser")
        .refresh("30s")
        .time("now-3h", "now")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .link(
            dashboard.DashboardLink("nexusd")
            .type(model.DashboardLinkType.DASHBOARDS)
            .tags(["nexusd"])
            .keep_time(keep_time=True)
            .include_vars(include_vars=True)
        )
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(_variable("job", "label_values(nexusd_build_info, job)"))
        .with_variable(_variable("instance", 'label_values(nexusd_build_info{job=~"$job"}, instance)'))
    )
    numbers = count(1)
    for name, panels in rows.items():
        built.with_row(dashboard.Row(name).id(next(numbers)))
        for panel in panels:
            built.with_panel(panel.build(next(numbers)))
    return built


def _variable(name: str, query: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .label(name)
        .datasource(SOURCE)
        .query(query)
        .multi(multi=True)
        .include_all(include_all=True)
        .all_value(".+")
        .current(model.VariableOption(selected=True, text="All", value="$__all"))
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
    )


def _lines() -> timeseries.Panel:
    legend = (
        part.VizLegendOptions()
        .display_mode(common.LegendDisplayMode.LIST)
        .placement(common.LegendPlacement.BOTTOM)
        .show_legend(show_legend=True)
    )
    tooltip = part.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING)
    return timeseries.Panel().legend(legend).tooltip(tooltip).fill_opacity(8).line_width(1).min(0)


def _stacked() -> timeseries.Panel:
    stacking = part.StackingConfig().mode(common.StackingMode.NORMAL)
    return _lines().stacking(stacking).fill_opacity(30)


def _bars() -> timeseries.Panel:
    return _stacked().draw_style(common.GraphDrawStyle.BARS).fill_opacity(70)


def _number() -> stat.Panel:
    last = part.ReduceDataOptions().calcs(["lastNotNull"])
    panel = stat.Panel().reduce_options(last).graph_mode(common.BigValueGraphMode.NONE).no_value("none")
    return panel.thresholds(_thresholds({None: BLUE}))


def _name() -> stat.Panel:
    return _number().text_mode(common.BigValueTextMode.NAME)


def _states() -> statetimeline.Panel:
    return (
        statetimeline.Panel()
        .show_value(common.VisibilityMode.NEVER)
        .merge_values(merge_values=True)
        .row_height(0.85)
        .line_width(0)
        .fill_opacity(80)
    )


_KINDS = {
    "lines": _lines,
    "stacked": _stacked,
    "bars": _bars,
    "number": _number,
    "name": _name,
    "states": _states,
}


def _thresholds(colours: Colours) -> dashboard.ThresholdsConfig:
    steps = [model.Threshold(value=value, color=colour) for value, colour in colours.items()]
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps)


def _mapping(words: Words) -> model.ValueMap:
    return model.ValueMap(
        {
            str(value): model.ValueMappingResult(text=word, color=colour, index=index)
            for index, (value, (word, colour)) in enumerate(words.items())
        }
    )
