-- Why a trade within the village was ended, where neither of its two members did it.
ALTER TABLE deal ADD COLUMN reason TEXT NOT NULL DEFAULT '';
