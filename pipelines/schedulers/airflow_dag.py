"""Three DAGs for Airflow 3: the morning's load, backfills by hand, a compaction every week.

Install: put this file into the DAGs folder of an Airflow with apache-airflow-providers-standard, `faceledger` and the two
pipeline files onto the workers, and the variables that those files name (COS_SECRET_ID and so on) into the workers'
environment. FACELEDGER_PIPELINE and FACELEDGER_BACKFILL_PIPELINE say where the pipeline files are.

Running a data interval again is always safe. `--day` makes the command a function of the interval alone, not of the hour
at which it runs, and what is loaded is known by key, size and ETag: a second run of an interval loads what is new
of its days, mostly nothing, and shows up as skipped.
"""

import os
import shlex
from datetime import timedelta

import pendulum
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, CronDataIntervalTimetable, CronTriggerTimetable, Param
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

BEIJING = "Asia/Shanghai"
PIPELINE = shlex.quote(os.environ.get("FACELEDGER_PIPELINE", "/etc/faceledger/daily-s3.toml"))
BACKFILL = shlex.quote(os.environ.get("FACELEDGER_BACKFILL_PIPELINE", "/etc/faceledger/backfill-s3.toml"))

# The interval that is run at 09:00 of D+1 began at 09:00 of D: its usage day is D. Not `ds`, which is a day of UTC.
DAY = "{{ data_interval_start.in_timezone('%s') | ds }}" % BEIJING
NOTHING_NEW = 99
# A person has to look: our failure, a wrong pipeline file, too many rejects, a breach. Too many rejects are told once,
# by the run that met them: a retry would end with 0 and hide them.
FINAL = (1, 2, 3, 5)


class Faceledger(BashOperator):
    """Retries what another try can mend (6: another run holds the tables, 75: the store, or a signal), nothing else.

    When Airflow stops the task, faceledger gets SIGTERM and ends between two commits.
    """

    def __init__(self, **kwargs):
        kwargs.setdefault("skip_on_exit_code", NOTHING_NEW)
        # The last line of a table of charges is of no use to other tasks.
        kwargs.setdefault("do_xcom_push", False)
        super().__init__(**kwargs)

    def execute(self, context):
        try:
            return super().execute(context)
        except AirflowSkipException:
            raise
        except AirflowException as error:
            process = self.subprocess_hook.sub_process
            if process is not None and process.returncode in FINAL:
                raise AirflowFailException(f"faceledger ended with {process.returncode}: see its output above") from error
            raise


every_dag = {
    "start_date": pendulum.datetime(2024, 1, 1, tz=BEIJING),
    # A day that was missed is within the lookback of the next run; more of them are a backfill.
    "catchup": False,
    "max_active_runs": 1,
    "tags": ["faceledger"],
    "default_args": {
        "retries": 6,
        "retry_delay": timedelta(minutes=10),
        "execution_timeout": timedelta(hours=6),
    },
}

with DAG(
    "faceledger_daily",
    description="Results of the usage day before, and of the days before it that may still get some",
    # Said in full: with a plain cron string Airflow 3 makes intervals of no length, and each run would be about its own day.
    schedule=CronDataIntervalTimetable("0 9 * * *", timezone=BEIJING),
    **every_dag,
):
    Faceledger(
        task_id="load",
        bash_command=f"faceledger run {PIPELINE} --day {DAY} --if-nothing-new-exit {NOTHING_NEW}",
    )

with DAG(
    "faceledger_backfill",
    description="Usage days of the past; start it by hand",
    schedule=None,
    # `format` and `pattern` are checked before the run starts, so the values are safe in a command line.
    params={
        "from_day": Param(type="string", format="date", pattern=r"^\d{4}-\d{2}-\d{2}$", title="First usage day"),
        "to_day": Param(type="string", format="date", pattern=r"^\d{4}-\d{2}-\d{2}$", title="Last usage day"),
        "order": Param("newest-first", enum=["newest-first", "oldest-first"], title="Which days come first"),
        "full_refresh": Param(False, type="boolean", title="Read everything again and replace these days"),
    },
    **every_dag,
):
    Faceledger(
        task_id="load",
        bash_command=f"faceledger run {BACKFILL} --from '{{{{ params.from_day }}}}' --to '{{{{ params.to_day }}}}'"
        " --order {{ params.order }}{{ ' --full-refresh' if params.full_refresh else '' }}"
        f" --if-nothing-new-exit {NOTHING_NEW}",
        execution_timeout=timedelta(days=2),
    )

with DAG(
    "faceledger_compact",
    description="Small files of the tables into large ones",
    schedule=CronTriggerTimetable("0 4 * * 0", timezone=BEIJING),
    **every_dag,
):
    Faceledger(task_id="compact", bash_command=f"faceledger compact {PIPELINE}")
