"""Prints the fleet's Grafana dashboard: a table of panels here, JSON for the chart."""

import json
from itertools import count

COLUMNS = 24
PLACE = 'namespace=~"$namespace"'
CALLS = "model_gallery_api_call_seconds"
FAILED = 'code!~"[1234]..|cancelled"'


def share(metric, by, at=0.95):
    """The quantile of a histogram."""
    return f"histogram_quantile({at}, sum by (le, {by}) (rate({metric}_bucket[5m])))"


def in_state(kind, type_, status="True"):
    wanted = f'{PLACE},type="{type_}",status="{status}"'
    return f"sum(model_gallery_{kind}_condition{{{wanted}}}) or vector(0)"


def of(metric):
    return f"model_gallery_{metric}{{{PLACE}}}"


# Title, kind, unit, width, queries with their legends.
ROWS = {
    "Fleet": [
        ("Models", "stat", "short", 4, {f"count({of('model_info')}) or vector(0)": ""}),
        ("Ready", "stat", "short", 4, {in_state("model", "Ready"): ""}),
        ("At work", "stat", "short", 4, {in_state("model", "Reconciling"): ""}),
        ("Stalled", "stat", "short", 4, {in_state("model", "Stalled"): ""}),
        ("Damaged files", "stat", "short", 4, {f"sum({of('model_damaged_files')})": ""}),
        ("Operator", "stat", "none", 4, {"model_gallery_build_info": "{{version}}"}),
        (
            "Models by Ready",
            "timeseries",
            "short",
            12,
            {
                f'sum by (status) (model_gallery_model_condition{{{PLACE},type="Ready"}})': "{{status}}"
            },
        ),
        (
            "Not Ready now",
            "table",
            "none",
            12,
            {f'model_gallery_model_condition{{{PLACE},type="Ready",status="True"}} == 0': ""},
        ),
        (
            "Models",
            "table",
            "bytes",
            24,
            {f"{of('model_info')} * on (namespace, name) group_left {of('model_size_bytes')}": ""},
        ),
    ],
    "Transfers": [
        (
            "Fetched by ended workers",
            "timeseries",
            "Bps",
            8,
            {"rate(model_gallery_download_bytes_total[5m])": "all"},
        ),
        (
            "Progress",
            "timeseries",
            "percentunit",
            8,
            {of("model_download_progress_ratio"): "{{namespace}}/{{name}}"},
        ),
        (
            "Failed attempts in a row",
            "timeseries",
            "short",
            8,
            {f"{of('model_attempts')} > 0": "{{namespace}}/{{name}}"},
        ),
        (
            "Ended workers",
            "timeseries",
            "short",
            12,
            {
                "sum by (operation, reason) (increase(model_gallery_worker_results_total[5m]))": (
                    "{{operation}} {{reason}}"
                )
            },
        ),
        (
            "How long workers take (95 %)",
            "timeseries",
            "s",
            12,
            {share("model_gallery_worker_seconds", "operation"): "{{operation}}"},
        ),
    ],
    "Volumes": [
        (
            "Available",
            "timeseries",
            "percentunit",
            8,
            {
                f"{of('volume_available_bytes')} / ({of('volume_capacity_bytes')} > 0)": (
                    "{{namespace}}/{{gallery}}"
                )
            },
        ),
        (
            "Contents",
            "timeseries",
            "bytes",
            8,
            {
                of("volume_managed_bytes"): "{{namespace}}/{{gallery}} Models",
                of("volume_loose_bytes"): "{{namespace}}/{{gallery}} loose",
                of("volume_reclaimable_bytes"): "{{namespace}}/{{gallery}} reclaimable",
            },
        ),
        (
            "Since the last scan",
            "timeseries",
            "s",
            8,
            {f"time() - {of('volume_scanned_timestamp_seconds')}": "{{namespace}}/{{gallery}}"},
        ),
    ],
    "Verification and updates": [
        (
            "Since all bytes were read, in periods",
            "timeseries",
            "short",
            8,
            {
                f"(time() - {of('model_checked_timestamp_seconds')})"
                f" / {of('model_verify_period_seconds')}": "{{namespace}}/{{name}}"
            },
        ),
        (
            "Damage found",
            "timeseries",
            "short",
            8,
            {"increase(model_gallery_verify_failures_total[1h])": "files"},
        ),
        (
            "Updates available",
            "table",
            "none",
            8,
            {f"{of('model_update_available')} == 1": ""},
        ),
    ],
    "Serving": [
        (
            "Pods by state of the Model",
            "timeseries",
            "short",
            8,
            {f"sum by (state) ({of('model_serving_pods')})": "{{state}}"},
        ),
        (
            "Requests",
            "timeseries",
            "short",
            8,
            {f"sum by (name, phase) ({of('model_requests')})": "{{name}} {{phase}}"},
        ),
        (
            "Backends",
            "timeseries",
            "short",
            8,
            {
                of("backend_pods"): "{{gallery}}/{{backend}} {{phase}}",
                of("backend_loaded_models"): "{{gallery}}/{{backend}} loaded models",
            },
        ),
        ("RAM", "timeseries", "bytes", 8, {of("model_memory_bytes"): "{{namespace}}/{{name}}"}),
        (
            "Accelerator memory",
            "timeseries",
            "bytes",
            8,
            {of("model_vram_bytes"): "{{namespace}}/{{name}}"},
        ),
        ("CPU", "timeseries", "short", 8, {of("model_cpu_cores"): "{{namespace}}/{{name}}"}),
        (
            "Unused for",
            "timeseries",
            "s",
            12,
            {f"time() - {of('model_last_used_timestamp_seconds')}": "{{namespace}}/{{name}}"},
        ),
        (
            "Unloads",
            "timeseries",
            "short",
            12,
            {
                "sum by (reason, result) (increase(model_gallery_unloads_total[5m]))": (
                    "{{reason}} {{result}}"
                )
            },
        ),
    ],
    "Galleries": [
        (
            "Entries",
            "timeseries",
            "short",
            8,
            {
                of("gallery_entries"): "{{namespace}}/{{gallery}}",
                of("gallery_problem_entries"): "{{namespace}}/{{gallery}} cannot be installed",
            },
        ),
        (
            "Index stale",
            "timeseries",
            "short",
            8,
            {of("gallery_index_stale"): "{{namespace}}/{{gallery}}"},
        ),
        (
            "Listed",
            "timeseries",
            "short",
            8,
            {of("gallery_models"): "{{namespace}}/{{gallery}} {{kind}}"},
        ),
    ],
    "Operator": [
        (
            "Reconciliations",
            "timeseries",
            "ops",
            8,
            {
                "sum by (kind, result) (rate(model_gallery_reconcile_total[5m]))": (
                    "{{kind}} {{result}}"
                )
            },
        ),
        (
            "How long they take (95 %)",
            "timeseries",
            "s",
            8,
            {share("model_gallery_reconcile_seconds", "kind"): "{{kind}}"},
        ),
        ("Queue", "timeseries", "short", 8, {"model_gallery_workqueue_depth": "keys"}),
        (
            "Calls",
            "timeseries",
            "ops",
            8,
            {f"sum by (component) (rate({CALLS}_count[5m]))": "{{component}}"},
        ),
        (
            "How long calls take (95 %)",
            "timeseries",
            "s",
            8,
            {share(CALLS, "component"): "{{component}}"},
        ),
        (
            "Failed calls",
            "timeseries",
            "ops",
            8,
            {
                f"sum by (component, path, code) (rate({CALLS}_count{{{FAILED}}}[5m]))": (
                    "{{component}} {{path}} {{code}}"
                )
            },
        ),
    ],
}
HEIGHT = {"stat": 4, "timeseries": 8, "table": 8}
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def panels():
    numbers, y = count(1), 0
    for title, row in ROWS.items():
        place = {"h": 1, "w": COLUMNS, "x": 0, "y": y}
        yield {"id": next(numbers), "type": "row", "title": title, "gridPos": place, "panels": []}
        x, y, height = 0, y + 1, 0
        for name, kind, unit, width, queries in row:
            if x + width > COLUMNS:
                x, y, height = 0, y + height, 0
            place = {"h": HEIGHT[kind], "w": width, "x": x, "y": y}
            yield panel(next(numbers), name, kind, unit, queries) | {"gridPos": place}
            x, height = x + width, max(height, HEIGHT[kind])
        y += height


def panel(number, title, kind, unit, queries):
    instant = kind != "timeseries"
    return {
        "id": number,
        "type": kind,
        "title": title,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        # A stat that names something shows the name.
        "options": {"textMode": "name"} if unit == "none" and kind == "stat" else {},
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "datasource": SOURCE,
                "expr": expression,
                "legendFormat": legend,
                "instant": instant,
                "range": not instant,
                "format": "table" if kind == "table" else "time_series",
            }
            for place, (expression, legend) in enumerate(queries.items())
        ],
    }


def main():
    namespaces = "label_values(model_gallery_gallery_condition, namespace)"
    variables = [
        {"name": "datasource", "type": "datasource", "query": "prometheus"},
        {
            "name": "namespace",
            "type": "query",
            "datasource": SOURCE,
            "query": namespaces,
            "refresh": 2,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"text": "All", "value": "$__all"},
        },
    ]
    dashboard = {
        "uid": "model-gallery-fleet",
        "title": "Model galleries",
        "tags": ["model-gallery"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": variables},
        "panels": list(panels()),
    }
    print(json.dumps(dashboard, indent=1))


main()
