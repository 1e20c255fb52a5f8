-- Why a host gave no result of a task: its run was void, its owner's rules did not allow the task, its lease lapsed, or its
-- receipt was refused. All of them count per owner, also after a start. Rows of before are void runs.
ALTER TABLE void_run ADD COLUMN fault TEXT NOT NULL DEFAULT 'void' CHECK (fault IN ('void', 'declined', 'lapsed', 'refused'));
