"""Says, as JSON, what a real Airflow makes of the DAG file, and what is in the YAML file. The test compares.

Usage: schedulers.py DAGS_FILE YAML_FILE FAKE_PATH

FAKE_PATH is a folder with a `faceledger` that ends with the number in FAKE_EXIT. AIRFLOW_HOME is a folder of the test's own;
no database is made or asked.
"""

import copy
import json
import os
import sys
from datetime import datetime, timezone

import pendulum
import yaml
from airflow.dag_processing.dagbag import DagBag
from airflow.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from airflow.serialization.serialized_objects import DagSerialization
from airflow.timetables.base import DataInterval, TimeRestriction


def utc(*parts):
    return pendulum.instance(datetime(*parts, tzinfo=timezone.utc))


def rendered(dag, task_id, **context):
    """The command of a task, in a context such as a run has."""
    task = dag.get_task(task_id).prepare_for_execution()
    task.render_template_fields(context, dag.get_template_env())
    return task.bash_command


def rendered_or_error(*args, **context):
    try:
        return rendered(*args, **context)
    except Exception as error:
        return type(error).__name__


def scheduled(dag, after, count):
    """What the scheduler makes of the schedule once the DAG has gone through its serialized form: the first runs from
    `after` on, each with when it starts and what interval it is about."""
    timetable = DagSerialization.from_dict(DagSerialization.to_dict(dag)).timetable
    restriction = TimeRestriction(earliest=after, latest=None, catchup=True)
    last, runs = None, []
    for _ in range(count):
        info = timetable.next_dagrun_info(last_automated_data_interval=last, restriction=restriction)
        runs.append(info)
        last = info.data_interval
    return timetable, runs


def params_error(dag, **values):
    """None when these values may start a run."""
    params = copy.deepcopy(dag.params)
    try:
        params.update(values)
        params.validate()
        return None
    except Exception as error:
        return type(error).__name__


def ended(task, code):
    """How a task ends whose program ends with `code`; code -9 is a kill."""
    os.environ["FAKE_EXIT"] = str(code)
    task = task.prepare_for_execution()
    task.bash_command = "faceledger"
    try:
        task.execute({})
        return "success"
    except AirflowSkipException:
        return "skipped"
    except AirflowFailException:
        return "failed for good"
    except AirflowException:
        return "to be retried"


def main(dags_file, yaml_file, fake_path):
    bag = DagBag(dag_folder=dags_file)
    os.environ["PATH"] = f"{fake_path}:{os.environ['PATH']}"
    dags = bag.dags
    found = {"errors": list(bag.import_errors.values()), "dags": sorted(dags)}
    if not found["errors"]:
        daily, backfill, compact = (dags[f"faceledger_{name}"] for name in ("daily", "backfill", "compact"))
        found["settings"] = {
            dag_id: {
                "catchup": dag.catchup,
                "max_active_runs": dag.max_active_runs,
                "tasks": {
                    task.task_id: {
                        "retries": task.retries,
                        "retry_delay_s": task.retry_delay.total_seconds(),
                        "skip_on": list(task.skip_on_exit_code),
                    }
                    for task in dag.tasks
                },
            }
            for dag_id, dag in dags.items()
        }
        timetable, runs = scheduled(daily, utc(2024, 10, 31, 1), 2)
        found["daily"] = {
            "time_zone": str(timetable._timezone.name),
            "runs": [
                {
                    "starts": info.run_after.in_timezone("UTC").isoformat(),
                    "command": rendered(daily, "load", data_interval_start=info.data_interval.start, data_interval_end=info.data_interval.end),
                }
                for info in runs
            ],
            # The same interval as a database in UTC hands it back, and as a host in America would write it.
            "same": [
                rendered(daily, "load", data_interval_start=utc(2024, 10, 31, 17).in_timezone(zone))
                for zone in ("UTC", "America/New_York", "Asia/Shanghai")
            ],
            "by_hand": rendered(
                daily,
                "load",
                data_interval_start=timetable.infer_manual_data_interval(run_after=utc(2024, 11, 2, 12)).start,
            ),
            "without_interval": rendered_or_error(daily, "load"),
            "ends": {str(code): ended(daily.get_task("load"), code) for code in (0, 1, 2, 3, 5, 6, 75, 99, -9)},
        }
        days = {"from_day": "2024-01-01", "to_day": "2024-06-30"}
        found["backfill"] = {
            "schedule": DagSerialization.from_dict(DagSerialization.to_dict(backfill)).timetable.summary,
            "command": rendered(backfill, "load", params={**days, "order": "oldest-first", "full_refresh": False}),
            "refresh": rendered(backfill, "load", params={**days, "order": "newest-first", "full_refresh": True}),
            "params": [
                params_error(backfill, **days),
                params_error(backfill),
                params_error(backfill, from_day="2024-01-01'; true '", to_day="2024-06-30"),
                params_error(backfill, from_day="2024-02-30", to_day="2024-06-30"),
                params_error(backfill, **days, order="sideways"),
            ],
        }
        timetable, runs = scheduled(compact, utc(2024, 11, 1), 2)
        found["compact"] = {
            "starts": [info.run_after.in_timezone("UTC").isoformat() for info in runs],
            "command": rendered(compact, "compact"),
        }
    with open(yaml_file, encoding="utf-8") as file:
        found["yaml"] = list(yaml.safe_load_all(file))
    # Airflow writes its log to stdout as well: the answer is the last line.
    print("\n" + json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
