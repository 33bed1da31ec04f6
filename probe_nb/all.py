"Everything that a notebook needs: `from probe_nb.all import *`."
from .activations import *
from .answers import *
from .charts import *
from .judges import *
from .maps import *
from .models import *
from .phrases import *
from .positions import *
from .probes import *
from .published import *
from .questions import *
from .report import *
from .spans import *
from .study import *
from .widgets import *
